"use strict";
// Elements, numbers and charts. Text from the data reaches the page as text nodes and attributes only, never as markup.
const SVG = "http://www.w3.org/2000/svg";
const BLANKS = { class: "className", for: "htmlFor" };

/** Makes an element: properties, "on…" listeners, "aria-…"/"data-…" attributes; children are elements or text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "style") element.setAttribute(name, value);
    else element[BLANKS[name] ?? name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const count = (n) => n.toLocaleString("en");
const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;
const share = (part, whole) => (whole ? percent(part / whole) : "–");

function percent(fraction) {
  if (fraction === null || fraction === undefined) return "–";
  const value = 100 * fraction;
  const digits = value === 0 || value === 100 || (value >= 10 && value < 99) ? 0 : 1;
  const shown = value < 100 ? Math.min(value, 99.9) : value; // what is not all is not shown as all
  return `${value > 0 && value < 0.1 ? "< 0.1" : shown.toFixed(digits)} %`;
}

/** Returns about three round values that span 0 to the largest. */
function ticks(largest) {
  const rough = Math.max(largest, 1) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= rough) * power);
  const values = [];
  for (let value = 0; value < largest + step; value += step) values.push(value);
  return values;
}

/**
 * A histogram over 0 to 100 %, its series stacked.
 * @param {{title, note, x, series: {name, kind, values}[], choose}} options `choose(from, to)` is called with a bin's
 *   bounds in percent.
 */
function histogram({ title, note, x, series, choose }) {
  const shown = series.filter((one) => one.values.some(Boolean));
  const sums = series[0].values.map((_, bin) => series.reduce((sum, one) => sum + one.values[bin], 0));
  const total = sums.reduce((a, b) => a + b, 0);
  const legend = make("span", { class: "legend" }, ...shown.map((one) => make("span", {}, make("i", { class: one.kind }), one.name)));
  const figure = make("figure", {}, make("figcaption", {}, title, make("small", {}, shown.length > 1 ? legend : note)));
  if (!total) {
    figure.append(make("p", { class: "empty" }, "Nothing to count here."));
    return figure;
  }
  const top = 8, bottom = 44, left = 46, height = 220;
  const yTicks = ticks(Math.max(...sums));
  const scale = (height - top - bottom) / yTicks.at(-1);
  const y = (value) => height - bottom - value * scale;
  const paint = (width) => {
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group" });
    svg.setAttribute("aria-label", `${title}: ${count(total)} images in ${sums.length} bins. ${note}`);
    const step = (width - left) / sums.length;
    for (const value of yTicks) {
      svg.append(draw("line", { class: value ? "grid" : "axis", x1: left, x2: width, y1: y(value), y2: y(value) }));
      svg.append(draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, count(value)));
    }
    for (const value of [0, 25, 50, 75, 100]) {
      const anchor = value === 0 ? "start" : value === 100 ? "end" : "middle";
      svg.append(
        draw("text", { x: left + ((width - left) * value) / 100, y: height - bottom + 18, "text-anchor": anchor }, `${value} %`),
      );
    }
    svg.append(draw("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, x));
    sums.forEach((sum, bin) => {
      const from = (100 * bin) / sums.length, to = (100 * (bin + 1)) / sums.length;
      const group = draw("g", { class: "bin" });
      group.append(draw("rect", { class: "hit", x: left + bin * step, y: top, width: step, height: height - top - bottom }));
      let below = 0;
      for (const one of series) {
        const size = one.values[bin];
        const rect = { x: left + bin * step + 1, width: Math.max(step - 2, 1), rx: 1.5, y: y(below + size), height: size * scale };
        if (size) group.append(draw("rect", { class: one.kind, ...rect }));
        below += size;
      }
      const parts = shown.length > 1 ? shown.map((one) => `\n${one.name}: ${count(one.values[bin])}`).join("") : "";
      const text = `${from} to ${to} %: ${plural(sum, "image")}${parts}`;
      group.append(draw("title", {}, text));
      if (choose && sum) {
        group.setAttribute("role", "button");
        group.setAttribute("tabindex", "0");
        group.setAttribute("aria-label", `${text}. Show them in the gallery`);
        group.addEventListener("click", () => choose(from, to));
        group.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            choose(from, to);
          }
        });
      }
      svg.append(group);
    });
    figure.querySelector("svg")?.remove();
    figure.append(svg);
  };
  let painted = 0;
  new ResizeObserver(() => {
    const width = Math.round(figure.clientWidth); // drawn at its real width, so that text keeps its size
    if (width && width !== painted) paint((painted = width));
  }).observe(figure);
  return figure;
}

/** A name, a bar of a share, and the share in words: three cells of a grid. */
function shareBar(name, fraction, kind) {
  const width = `${Math.max(0, Math.min(1, fraction ?? 0)) * 100}%`;
  return [
    make("b", { title: name }, name),
    make("div", {}, make("i", { class: kind, style: `width:${width}` })),
    make("span", { class: "amount" }, percent(fraction)),
  ];
}
