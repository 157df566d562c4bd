// Follows a study: asks for its content again and again, and puts what has changed into the page.
// All texts are set as texts; only the figures, which the server draws, are markup.
"use strict";
(() => {
  const AGAIN_MS = 1000;
  const MOST_ROWS = 200; // of the table
  const HEIGHT = 300, TOP = 34, BOTTOM = 18, SIDE = 64, NARROWEST = 92, LETTER = 6; // px
  const find = (id) => document.getElementById(id);
  const brushes = new Map(); // axis -> { from, to } of numbers, or { levels }; in the axis's units
  let content = null, version = "", dragging = null, waiting = null;

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const drawn = (name, attributes = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };

  const METRIC = "\u0000metric";
  const valueOf = (cell, key) => (key === METRIC ? cell.metric : cell.numbers[key] ?? null);
  const columns = () => [
    ...content.axes,
    { key: METRIC, title: content.monitor, log: false, levels: [] },
  ];

  const scaleOf = (column) => {
    const [low, high] = [HEIGHT - BOTTOM, TOP];
    if (column.levels.length) {
      const step = (low - high) / Math.max(1, column.levels.length - 1);
      return {
        ticks: column.levels.map((level, i) => [low - i * step, level]),
        place: (cell) => {
          const i = column.levels.indexOf(cell.knobs[column.key]);
          return i < 0 ? null : low - i * step;
        },
        chosen: (from, to) => ({
          levels: column.levels.filter((_, i) => low - i * step >= to && low - i * step <= from),
        }),
      };
    }
    const own = content.cells.filter((cell) => valueOf(cell, column.key) !== null);
    const numbers = own.map((cell) => valueOf(cell, column.key));
    const bend = column.log ? Math.log : (x) => x;
    const back = column.log ? Math.exp : (x) => x;
    let [least, most] = [bend(Math.min(...numbers)), bend(Math.max(...numbers))];
    if (!(most > least)) [least, most] = [least - 0.5, most + 0.5];
    const at = (x) => low - ((bend(x) - least) / (most - least)) * (low - high);
    const value = (y) => back(least + ((low - y) / (low - high)) * (most - least));
    const said = (cell) => (column.key === METRIC ? cell.shown : cell.knobs[column.key]);
    const known = new Map(own.map((cell) => [valueOf(cell, column.key), said(cell)]));
    const few = known.size <= 6 && column.key !== METRIC;
    const kept = [...known].filter(([x]) => few || x === Math.min(...numbers) || x === Math.max(...numbers));
    return {
      ticks: kept.map(([x, text]) => [at(x), text]),
      place: (cell) => (valueOf(cell, column.key) === null ? null : at(valueOf(cell, column.key))),
      chosen: (from, to) => ({ from: value(from), to: value(to) }),
      span: ({ from, to }) => [at(from), at(to)].map((y) => Math.min(low, Math.max(high, y))),
    };
  };

  const inside = (cell, key, brush) => {
    if (brush.levels) return brush.levels.includes(cell.knobs[key]);
    const value = valueOf(cell, key);
    return value !== null && value >= brush.from && value <= brush.to;
  };
  const isChosen = (cell) => [...brushes].every(([key, brush]) => inside(cell, key, brush));
  const bestCell = () => content.cells.find((cell) => cell.cell === content.best) ?? null;

  const drawParallel = () => {
    const all = columns();
    const room = find("parallel").clientWidth || 600;
    const scales = all.map(scaleOf);
    const longest = Math.max(...scales.flatMap(({ ticks }) => ticks.map(([, text]) => text.length)));
    const apart = Math.max(NARROWEST, 18 + LETTER * longest); // no word reaches the next axis
    const width = Math.max(room, 2 * SIDE + apart * (all.length - 1));
    const x = (i) => SIDE + (i * (width - 2 * SIDE)) / Math.max(1, all.length - 1);
    const svg = drawn("svg", { width, height: HEIGHT, role: "img",
      "aria-label": `Parallel coordinates of ${content.cells.length} cells; the table below has the same figures` });
    const best = bestCell();
    const order = [...content.cells].sort((a, b) => isChosen(a) - isChosen(b) || (a === best) - (b === best));
    for (const cell of order) {
      const points = all.map((_, i) => [x(i), scales[i].place(cell)]).filter(([, y]) => y !== null);
      if (points.length < 2) continue;
      const kinds = ["cell", cell.final ? "" : "open", isChosen(cell) ? "" : "out", cell === best ? "best" : ""];
      const line = drawn("polyline", { class: kinds.filter(Boolean).join(" "), "data-cell": cell.cell,
        points: points.map((point) => point.map((v) => v.toFixed(1)).join(",")).join(" ") });
      line.append(drawn("title", {}, `${cell.cell}: ${cell.shown}`));
      svg.append(line);
    }
    all.forEach((column, i) => {
      svg.append(drawn("text", { x: x(i), y: 14, "text-anchor": "middle" }, column.title));
      svg.append(drawn("line", { class: "axis", x1: x(i), x2: x(i), y1: TOP, y2: HEIGHT - BOTTOM }));
      for (const [y, text] of scales[i].ticks)
        svg.append(drawn("text", { class: "tick", x: x(i) + 5, y: y + 4 }, text));
      const brush = brushes.get(column.key);
      if (brush) {
        const [from, to] = brush.span ?? scales[i].span(brush);
        svg.append(drawn("rect", { class: "brush", x: x(i) - 9, width: 18, y: Math.min(from, to),
          height: Math.max(3, Math.abs(to - from)) }));
      }
      const hit = drawn("rect", { class: "hit", x: x(i) - 16, width: 32, y: TOP - 8,
        height: HEIGHT - TOP - BOTTOM + 16, "data-axis": column.key });
      hit.addEventListener("pointerdown", (event) => beginBrush(event, column, scales[i], svg));
      svg.append(hit);
    });
    find("parallel").replaceChildren(svg);
  };

  const beginBrush = (event, column, scale, svg) => {
    event.preventDefault();
    const place = (e) => Math.min(HEIGHT - BOTTOM + 4, Math.max(TOP - 4, e.clientY - svg.getBoundingClientRect().top));
    dragging = { column, scale, start: place(event), end: place(event) };
    const mark = drawn("rect", { class: "brush", x: Number(event.target.getAttribute("x")) + 7, width: 18, y: dragging.start, height: 0 });
    svg.append(mark);
    const move = (e) => {
      dragging.end = place(e);
      mark.setAttribute("y", Math.min(dragging.start, dragging.end));
      mark.setAttribute("height", Math.abs(dragging.end - dragging.start));
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      const [from, to] = [Math.max(dragging.start, dragging.end), Math.min(dragging.start, dragging.end)];
      if (from - to < 4) brushes.delete(column.key);
      else brushes.set(column.key, { ...scale.chosen(from, to), ...(column.levels.length ? { span: [from, to] } : {}) });
      dragging = null;
      if (waiting) [content, waiting] = [waiting, null];
      show();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  };

  const sparkline = (curve, least, most) => {
    const svg = drawn("svg", { width: 90, height: 22, "aria-hidden": "true" });
    const x = (i) => 1 + (i * 88) / Math.max(1, curve.length - 1);
    const y = (v) => 20 - ((v - least) / (most - least || 1)) * 18;
    const points = curve.map((v, i) => `${x(i).toFixed(1)},${Math.max(1, y(v)).toFixed(1)}`);
    if (points.length === 1) points.push(`4,${points[0].split(",")[1]}`);
    svg.append(drawn("polyline", { points: points.join(" ") }));
    return svg;
  };

  const listCells = () => {
    const shown = content.cells.filter(isChosen);
    const ends = content.cells.flatMap((cell) => cell.curve.slice(-1));
    const starts = content.cells.flatMap((cell) => cell.curve.slice(0, 1)).sort((a, b) => a - b);
    const least = Math.min(...ends), most = starts[Math.floor(starts.length / 2)] ?? 1;
    const head = element("tr");
    for (const axis of content.axes) head.append(element("th", { class: "text" }, axis.title));
    head.append(element("th", {}, content.monitor), element("th", { class: "text" }, "curve"), element("th", { class: "text" }, "runs"));
    const best = bestCell();
    const rows = shown.slice(0, MOST_ROWS).map((cell) => {
      const row = element("tr", { "data-cell": cell.cell, title: cell.cell, ...(cell === best ? { class: "best" } : {}) });
      for (const axis of content.axes) row.append(element("td", { class: "text" }, cell.knobs[axis.key] ?? "-"));
      row.append(element("td", {}, cell.shown + (cell.final || cell.metric === null ? "" : " so far")));
      row.append(element("td", {}, ...(cell.curve.length ? [sparkline(cell.curve, least, most)] : ["-"])));
      row.append(element("td", { class: "text" }, cell.states));
      return row;
    });
    find("cells").tHead.replaceChildren(head);
    find("cells").tBodies[0].replaceChildren(...rows);
    find("clear").hidden = brushes.size === 0;
    const said = [];
    if (brushes.size) said.push(`${shown.length} of ${content.cells.length} cells are chosen`);
    if (shown.length > MOST_ROWS) said.push(`the best ${MOST_ROWS} are listed`);
    find("chosen").textContent = said.join("; ");
  };

  // A figure keeps its place, and its scroll position, as long as it does not change.
  const showFigure = (id, figure) => {
    const place = find(id);
    place.hidden = !figure;
    if (!figure || place.dataset.svg === figure.svg) return;
    place.dataset.svg = figure.svg;
    const chart = element("div", { class: "chart" });
    chart.innerHTML = figure.svg; // drawn by the server, which escapes every text in it
    const scrolled = place.querySelector(".chart")?.scrollLeft ?? 0;
    place.replaceChildren(
      element("figcaption", {}, element("h3", {}, figure.title), element("p", { class: "small muted" }, figure.caption)), chart);
    chart.scrollLeft = scrolled;
  };

  const setText = (id, text) => {
    if (find(id).textContent !== text) find(id).textContent = text;
  };

  const show = () => {
    document.title = `${content.study}: ${content.standing[0][1]}`;
    setText("study", content.study);
    setText("question", content.question);
    setText("problem", content.problem);
    find("problem").hidden = !content.problem;
    find("standing").replaceChildren(...content.standing.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
    find("running").replaceChildren(...content.running.map((text) => element("li", {}, text)));
    find("notes").replaceChildren(...content.notes.map((text) => element("li", {}, text)));
    const { curves, doubt, no_doubt } = content.figures;
    setText("no-doubt", doubt ? "" : no_doubt);
    find("no-curves").hidden = Boolean(curves);
    showFigure("doubt", doubt);
    showFigure("curves", curves);
    drawParallel();
    listCells();
    find("ended-section").hidden = content.ended.length === 0;
    find("ended").replaceChildren(...content.ended.map(({ what, state, reason }) =>
      element("tr", {}, ...[what, state, reason].map((text) => element("td", { class: "text" }, text)))));
    setText("updated", `The study's record is from ${content.updated_at}.`);
    document.body.dataset.version = version;
  };

  const ask = async () => {
    try {
      const answer = await fetch(`/content?version=${version}`, { cache: "no-store" });
      if (answer.status === 200) {
        const found = await answer.json();
        version = answer.headers.get("X-Version");
        if (dragging) waiting = found; // what is under the pointer must not move
        else { content = found; show(); }
      }
      if (content && !content.problem) find("problem").hidden = true;
    } catch {
      setText("problem", "The command that serves this page has ended; the page shows how the study stood before.");
      find("problem").hidden = false;
    }
    setTimeout(ask, AGAIN_MS);
  };

  find("clear").addEventListener("click", () => { brushes.clear(); show(); });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && brushes.size) { brushes.clear(); show(); } });
  addEventListener("resize", () => { if (content && !dragging) drawParallel(); });
  ask();
})();
