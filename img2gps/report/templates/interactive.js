// Replaces a figure by its interactive form when the reader asks for it. Everything that it needs
// is in the page: the bundle defines vegaEmbed, the specifications stand in a JSON element.
"use strict";
(() => {
  const { specs, config, themes } = JSON.parse(document.getElementById("specs").textContent);
  const themed = (value) => {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    const colours = Object.fromEntries(
      Object.entries(themes).map(([colour, name]) => [colour, read(name)]));
    return JSON.parse(JSON.stringify(value), (_, item) => colours[item] ?? item);
  };
  for (const button of document.querySelectorAll("button[data-figure]")) {
    const chart = document.getElementById(`chart-${button.dataset.figure}`);
    const still = chart.firstElementChild;
    button.hidden = false;
    let result = null;
    button.addEventListener("click", async () => {
      if (result) {
        result.finalize();
        result = null;
        chart.replaceChildren(still);
        button.textContent = "Interactive";
        return;
      }
      const live = document.createElement("div");
      chart.replaceChildren(live);
      button.textContent = "Still picture";
      result = await vegaEmbed(live, themed(specs[button.dataset.figure]), {
        actions: false, renderer: "svg", config: { ...themed(config), background: "transparent" },
      });
    });
  }
})();
