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
const compact = (n) => n.toLocaleString("en", n < 100_000 ? {} : { notation: "compact" });
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

const FRAME = { top: 26, bottom: 44, left: 46, height: 238 }; // px

/**
 * A histogram over 0 to 100 %, its series stacked.
 * @param {{title, note, x, series: {name, kind, values}[], choose}} options `choose(from, to)` is called with a bin's
 *   bounds in percent; the note gives way to a legend where there are several series.
 */
function histogram(options) {
  const { title, note } = options;
  const series = options.series.filter((one) => one.values.some(Boolean));
  const key = series.map((one) => make("span", {}, make("i", { class: one.kind }), one.name));
  const legend = series.length > 1 ? make("span", { class: "legend" }, ...key) : note;
  const figure = make("figure", {}, make("figcaption", {}, title, make("small", {}, legend)));
  if (!series.length) {
    figure.append(make("p", { class: "empty" }, "Nothing to count here."));
    return figure;
  }
  let painted = 0;
  new ResizeObserver(() => {
    const width = Math.round(figure.clientWidth);
    if (!width || width === painted) return;
    painted = width; // drawn anew at the real width, so that text keeps its size
    figure.querySelector("svg")?.remove();
    figure.append(drawHistogram({ ...options, series }, width));
  }).observe(figure);
  return figure;
}

function drawHistogram({ title, note, x, series, choose }, width) {
  const { top, bottom, left, height } = FRAME;
  const sums = series[0].values.map((_, bin) => series.reduce((sum, one) => sum + one.values[bin], 0));
  const yTicks = ticks(Math.max(...sums));
  const scale = (height - top - bottom) / yTicks.at(-1);
  const y = (value) => height - bottom - value * scale;
  const total = sums.reduce((a, b) => a + b, 0);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group" });
  svg.setAttribute("aria-label", `${title}, ${note}: ${plural(total, "image")} in ${sums.length} bins`);
  for (const value of yTicks) {
    svg.append(draw("line", { class: value ? "grid" : "axis", x1: left, x2: width, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, compact(value)));
  }
  for (const value of [0, 25, 50, 75, 100]) {
    const anchor = value === 0 ? "start" : value === 100 ? "end" : "middle";
    const place = { x: left + ((width - left) * value) / 100, y: height - bottom + 18, "text-anchor": anchor };
    svg.append(draw("text", place, `${value} %`));
  }
  svg.append(draw("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, x));
  svg.append(draw("text", { x: left - 8, y: 10, "text-anchor": "end" }, "Images"));
  const step = (width - left) / sums.length;
  svg.append(...sums.map((_, bin) => drawBin({ bin, step, y, series, choose, bins: sums.length })));
  return svg;
}

/** One stacked bar, with the whole height of the chart to point at, and a button where it can be chosen. */
function drawBin({ bin, step, y, series, choose, bins }) {
  const { top, bottom, left, height } = FRAME;
  const x = left + bin * step;
  const group = draw("g", { class: "bin" }, draw("rect", { class: "hit", x, y: top, width: step, height: height - top - bottom }));
  let sum = 0;
  for (const { kind, values } of series) {
    const [from, to] = [sum, (sum += values[bin])];
    const tall = Math.max(y(from) - y(to), 1.5); // a few images beside thousands are still seen
    const rect = { class: kind, x: x + 1, width: Math.max(step - 2, 1), rx: 1.5, y: y(from) - tall, height: tall };
    if (to > from) group.append(draw("rect", rect));
  }
  const [from, to] = [(100 * bin) / bins, (100 * (bin + 1)) / bins];
  const parts = series.length > 1 ? series.map(({ name, values }) => `\n${name}: ${count(values[bin])}`).join("") : "";
  const text = `${from} to ${to} %: ${plural(sum, "image")}${parts}`;
  group.append(draw("title", {}, text));
  if (!choose || !sum) return group;
  for (const [name, value] of Object.entries({ role: "button", tabindex: "0", "aria-label": `${text}. Show them in the gallery` }))
    group.setAttribute(name, value);
  group.addEventListener("click", () => choose(from, to));
  group.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(from, to);
  });
  return group;
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
