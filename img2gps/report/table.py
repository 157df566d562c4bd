"""A table and its four forms: Markdown, LaTeX (booktabs), CSV and HTML.

All text is escaped, whatever the user has named things.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class Mark(NamedTuple):
    """A sign beside a figure."""

    text: str
    latex: str
    meaning: str


Legend: TypeAlias = list[str | tuple[Mark, str]]


@dataclass(frozen=True)
class Entry:
    """One field of a table."""

    text: str = ""
    bold: bool = False
    interval: tuple[float, float] | None = None  # metres
    marks: tuple[Mark, ...] = ()
    number: float | None = None  # what CSV holds instead of the text


@dataclass(frozen=True)
class Table:
    """Header, rows and what stands above and below them.

    The first `heads` columns name the row; they and the columns in `texts` stand to the left.
    `legend` are texts, some with the mark that they explain; `warnings` follow it.
    """

    key: str  # file name without suffix
    caption: str
    header: list[str]
    rows: list[list[Entry]]
    legend: Legend = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    banner: str = ""
    heads: int = 1
    texts: tuple[int, ...] = ()

    def _left(self) -> list[bool]:
        return [i < self.heads or i in self.texts for i in range(len(self.header))]

    def _notes(self) -> list[tuple[Mark | None, str]]:
        notes = [*self.legend, *self.warnings]
        return [(None, note) if isinstance(note, str) else note for note in notes]

    def markdown(self) -> str:
        """Return a table of GitHub's Markdown, with the legend as a list."""
        lines = [f"**{_markdown(self.caption)}**", ""]
        if self.banner:
            lines += [f"> {_markdown(self.banner)}", ""]
        lines.append(_row(_markdown(text) for text in self.header))
        lines.append(_row("---" if left else "---:" for left in self._left()))
        lines += [_row(_markdown_entry(entry) for entry in row) for row in self.rows]
        if self._notes():
            lines.append("")
        for mark, text in self._notes():
            lines.append(f"- {_markdown(mark.text) + ' ' if mark else ''}{_markdown(text)}")
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        r"""Return a floating table for `\usepackage{booktabs}`."""
        columns = "".join("l" if left else "r" for left in self._left())
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_text(self.caption)}}}"]
        lines += [rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', self.key)}}}"]
        if self.banner:
            lines.append(rf"{{\footnotesize\textbf{{{latex_text(self.banner)}}}}}\\[2pt]")
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines.append(" & ".join(latex_text(text) for text in self.header) + r" \\")
        lines.append(r"\midrule")
        lines += [" & ".join(_latex_entry(entry) for entry in row) + r" \\" for row in self.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        for mark, text in self._notes():
            sign = rf"\textsuperscript{{{mark.latex}}}~" if mark else ""
            lines.append(rf"\par{{\footnotesize {sign}{latex_text(text)}}}")
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def csv(self) -> str:
        """Return the fields alone, numbers in full; `cells.csv` has intervals and marks."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        for row in self.rows:
            writer.writerow([e.text if e.number is None else repr(e.number) for e in row])
        return out.getvalue()

    def html(self) -> str:
        """Return a `<table>` with its legend, in one `<figure>`."""
        parts = [f'<figure class="table" id="{html.escape(self.key)}">']
        if self.banner:
            parts.append(f'<p class="banner">{html.escape(self.banner)}</p>')
        parts += ["<table>", f"<caption>{html.escape(self.caption)}</caption>", "<thead><tr>"]
        kinds = [" class=text" if left else "" for left in self._left()]
        parts += [
            f'<th scope="col"{kind}>{html.escape(text)}</th>'
            for kind, text in zip(kinds, self.header, strict=True)
        ]
        parts.append("</tr></thead><tbody>")
        for row in self.rows:
            fields = [
                f'<th scope="row">{_html_entry(entry)}</th>'
                if i < self.heads
                else f"<td{' class=text' if i in self.texts else ''}>{_html_entry(entry)}</td>"
                for i, entry in enumerate(row)
            ]
            parts.append(f"<tr>{''.join(fields)}</tr>")
        parts.append("</tbody></table>")
        if self._notes():
            parts.append('<ul class="legend">')
            for mark, text in self._notes():
                sign = f"<sup>{html.escape(mark.text)}</sup> " if mark else ""
                parts.append(f"<li>{sign}{html.escape(text)}</li>")
            parts.append("</ul>")
        return "\n".join([*parts, "</figure>"]) + "\n"


def _row(fields: Iterable[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*_{}\[\]<>|~#])", r"\\\1", text)
    return " ".join(escaped.split())


def _markdown_entry(entry: Entry) -> str:
    text = _markdown(entry.text)
    text = f"**{text}**" if entry.bold else text
    if entry.interval is not None:
        text += r" \[{:.1f}, {:.1f}\]".format(*entry.interval)
    if entry.marks:
        text += " " + " ".join(_markdown(mark.text) for mark in entry.marks)
    return text


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
} | {char: f"\\{char}" for char in "&%$#_{}"}


def latex_text(text: str) -> str:
    r"""Return text with LaTeX's special characters escaped.

    >>> print(latex_text("5 % of a_b"))
    5 \% of a\_b
    """
    return "".join(_LATEX.get(char, char) for char in text)


def _latex_entry(entry: Entry) -> str:
    text = latex_text(entry.text)
    if text.startswith(("[", "*")):  # else an argument of the line break before it
        text = "{}" + text
    text = rf"\textbf{{{text}}}" if entry.bold else text
    if entry.interval is not None:
        text += r" {{\footnotesize [{:.1f}, {:.1f}]}}".format(*entry.interval)
    if entry.marks:
        text += rf"\textsuperscript{{{','.join(mark.latex for mark in entry.marks)}}}"
    return text


def _html_entry(entry: Entry) -> str:
    text = html.escape(entry.text)
    text = f"<strong>{text}</strong>" if entry.bold else text
    if entry.interval is not None:
        text += ' <span class="interval">[{:.1f}, {:.1f}]</span>'.format(*entry.interval)
    if entry.marks:
        signs = " ".join(
            f'<abbr title="{html.escape(m.meaning)}">{html.escape(m.text)}</abbr>'
            for m in entry.marks
        )
        text += f"<sup>{signs}</sup>"
    return text
