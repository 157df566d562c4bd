"""`img2gps completion SHELL`: a script that lets a shell complete commands, groups and knobs."""

from __future__ import annotations

import argparse

HELP = "print a script that completes commands, options, groups and knobs in bash or zsh"
SHELLS = ("bash", "zsh")
HOW = "in ~/.bashrc: source <(img2gps completion bash); in ~/.zshrc, after compinit, the same"
# bash takes "=" for the end of a word and replaces only what follows it, so the whole word is
# looked up in COMP_LINE.
_BEFORE = {
    "bash": """
_img2gps_words() {{
  local words="{words}" line="${{COMP_LINE:0:COMP_POINT}}" key=""
  line="${{line##* }}"
  case "$line" in *=*) key="${{line%%=*}}=" ;; esac
  compgen -W "$words" -- "$line" | sed "s|^$key||"
}}
""",
    "zsh": """
_img2gps_words() {{
  compadd -S '' -- {words}
}}
""",
}
_AFTER = {
    "bash": """
_img2gps() {
  _shtab_img2gps "$@"
  # no space after KEY=
  [[ ${#COMPREPLY[@]} = 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -o bashdefault -F _img2gps img2gps
""",
    "zsh": "",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, help=HOW)


def execute(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from img2gps.cli.main import parser
    from img2gps.config.usage import words

    before = _BEFORE[args.shell].format(words=" ".join(words()))
    print(shtab.complete(parser(), args.shell, preamble=before) + _AFTER[args.shell])
    return 0
