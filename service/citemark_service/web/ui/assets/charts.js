// Adds values under the pointer, zoom and links to the charts that the server has drawn.
"use strict";
document.querySelectorAll("figure[data-chart]").forEach((box) => {
  const { steps, lines, bounds } = JSON.parse(box.dataset.chart);
  const [drawn, plot] = [box.querySelector("svg.drawn"), box.querySelector("svg.plot")];
  const { width, height } = plot.viewBox.baseVal;
  const labels = [...drawn.querySelectorAll(".column")];
  const last = steps.length - 1;
  const across = (step) => (width * (step - steps[0])) / (steps[last] - steps[0] || 1);
  const up = (value) => height * (1 - (value - bounds[0]) / (bounds[1] - bounds[0]));
  const shown = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))).replace("-", "\u2212"));
  const add = (tone, name = "path") => {
    const mark = document.createElementNS(plot.namespaceURI, name);
    mark.setAttribute("class", tone);
    plot.append(mark);
    return mark;
  };
  const cursor = add("cursor");
  const chosen = add("chosen", "rect");
  const dots = lines.map((line) => add(`dot tone${line.tone}`));
  const told = document.createElement("p");
  told.className = "told";
  drawn.after(told);
  let [from, opening] = [null, 0];

  const unit = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse()).x;
  const nearest = (x) => steps.reduce((best, step, at) => (Math.abs(across(step) - x) < Math.abs(across(steps[best]) - x) ? at : best), 0);

  function zoom(low, high) {
    plot.setAttribute("viewBox", `${low} 0 ${high - low} ${height}`);
    plot.classList.toggle("zoomed", high - low < width);
    const seen = steps.filter((step) => low <= across(step) && across(step) <= high);
    labels.forEach((label, at) => {
      const step = seen[seen.length <= labels.length ? at : Math.floor(((seen.length - 1) * at) / (labels.length - 1))];
      label.textContent = step ?? "";
      label.setAttribute("x", `${(100 * (across(step ?? steps[0]) - low)) / (high - low)}%`);
    });
  }

  function point(event) {
    const x = unit(event);
    const at = nearest(x);
    told.textContent = [`step ${steps[at]}`, ...lines.map((line) => `${line.label} ${shown(line.values[at])}`)].join(" · ");
    cursor.setAttribute("d", `M${across(steps[at])} 0V${height}`);
    lines.forEach((line, each) => dots[each].setAttribute("d", line.values[at] === null ? "" : `M${across(steps[at])} ${up(line.values[at])}h0.01`));
    if (from !== null && event.buttons & 1) {
      Object.entries({ x: Math.min(from, x), width: Math.abs(x - from), height }).forEach(([name, value]) => chosen.setAttribute(name, value));
    }
  }

  function release(event) {
    if (from === null) return;
    const [low, high] = [from, unit(event)].sort((one, other) => one - other).map((x) => Math.min(Math.max(x, 0), width));
    clearTimeout(opening);
    if ((high - low) * plot.getScreenCTM().a > 3) zoom(low, high);
    // A second click, which resets the zoom, must come before the page is left.
    else opening = setTimeout(() => { location.href = `${box.dataset.href}&step=${steps[nearest(low)]}`; }, plot.classList.contains("zoomed") ? 300 : 0);
    from = null;
    chosen.setAttribute("width", 0);
  }

  drawn.addEventListener("pointermove", point);
  drawn.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    drawn.setPointerCapture(event.pointerId);
    from = unit(event);
  });
  drawn.addEventListener("pointerup", release);
  drawn.addEventListener("pointercancel", () => { from = null; });
  drawn.addEventListener("pointerleave", () => {
    told.textContent = "";
    [cursor, ...dots].forEach((mark) => mark.setAttribute("d", ""));
  });
  drawn.addEventListener("dblclick", () => { clearTimeout(opening); zoom(0, width); });
});
