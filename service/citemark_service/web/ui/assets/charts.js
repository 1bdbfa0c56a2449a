// Puts hover and zoom on charts that the server has drawn already. Colours are the style sheet's.
"use strict";
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figure = (value) => String(value).replace("-", "\u2212");
  const shown = (value) => (value === null || value === undefined ? "–" : figure(Number(value).toPrecision(3)));
  const plots = [];
  // Steps are whole numbers, and so are the places of their labels.
  const whole = Array.from({ length: 15 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

  function seriesOf(data) {
    const lines = data.lines.map((line) => ({
      label: line.label,
      stroke: colour(`--tone${line.tone}`),
      width: 2,
      dash: line.tone === 3 ? [7, 3] : undefined,
      points: { show: data.x.length === 1 },
    }));
    const edges = data.band ? [{ width: 0, points: { show: false } }, { width: 0, points: { show: false } }] : [];
    return [{}, ...lines, ...edges];
  }

  function options(data, width, told, open) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const first = data.lines.length + 1;
    return {
      width,
      height: Math.max(140, Math.round(width * 0.28)),
      scales: { x: { time: false }, y: { range: () => data.bounds } },
      series: seriesOf(data),
      bands: data.band ? [{ series: [first + 1, first], fill: colour("--shade") }] : [],
      axes: [{ ...axis, grid: { show: false }, size: 24, incrs: whole }, { ...axis, size: 44, values: (_, places) => places.map((place) => figure(Number(place.toPrecision(6)))) }],
      legend: { show: false },
      cursor: { drag: { x: true, y: false } },
      hooks: {
        setCursor: [(plot) => {
          const at = plot.cursor.idx;
          told.textContent = at === null || at === undefined ? "" :
            [`step ${data.x[at]}`, ...data.lines.map((line) => `${line.label} ${shown(line.values[at])}`)].join(" · ");
        }],
        ready: [(plot) => {
          let from = null;
          plot.over.addEventListener("mousedown", (event) => { from = event.clientX; });
          plot.over.addEventListener("click", (event) => {
            if (Math.abs(event.clientX - from) < 3 && plot.cursor.idx !== null) open(data.x[plot.cursor.idx]);
          });
        }],
      },
    };
  }

  function draw(figure) {
    const data = JSON.parse(figure.dataset.chart);
    if (data.x.length < 2) return;
    const still = figure.querySelector("svg.drawn");
    const box = document.createElement("div");
    const told = document.createElement("p");
    box.className = "plot";
    told.className = "told";
    const width = still.getBoundingClientRect().width;
    still.replaceWith(box);
    box.after(told);
    const open = (step) => { if (figure.dataset.href) location.href = `${figure.dataset.href}&step=${step}`; };
    const columns = [data.x, ...data.lines.map((line) => line.values), ...(data.band ? [data.band.low, data.band.high] : [])];
    const plot = new uPlot(options(data, width, told, open), columns, box);
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", still.getAttribute("aria-label"));
    plots.push({ plot, box, figure, told, open, columns, data });
  }

  function redraw() {
    for (const each of plots) {
      each.plot.destroy();
      each.plot = new uPlot(options(each.data, each.box.clientWidth, each.told, each.open), each.columns, each.box);
    }
  }

  let waiting = 0;
  document.querySelectorAll("figure[data-chart]").forEach(draw);
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
