"use strict";
// The gallery: its images as columns, filters, sorting, tiles, and the keyboard.
const PAGE_TILES = 60;
const DEFAULTS = { class: -1, label: -1, min: 0, max: 100, agree: "all", models: "all", search: "", sort: "data" };
const byId = (id) => document.getElementById(id);

const gallery = { columns: {}, size: 0, found: [], page: 0, state: { ...DEFAULTS }, summary: null };

/** Null sorts last, whichever the direction. */
const ascending = (column) => (a, b) => (column[a] ?? Infinity) - (column[b] ?? Infinity);
const descending = (column) => (a, b) => (column[b] ?? -Infinity) - (column[a] ?? -Infinity);

const SORTS = {
  data: { name: "As in the data" },
  least: { name: "Least certain first", order: (c) => ascending(c.probability) },
  most: { name: "Most certain first", order: (c) => descending(c.probability) },
  inconsistent: { name: "Least consistent first", needs: "consistency", order: (c) => ascending(c.consistency) },
  large: { name: "Largest box first", order: (c) => descending(c.area) },
  small: { name: "Smallest box first", order: (c) => ascending(c.area) },
  iou: { name: "Boxes that differ most first", needs: "compare", order: (c) => ascending(c.iou) },
};

const thumbnail = (i, folder = "thumbnails") =>
  `${folder}/${String(Math.floor(i / 1000)).padStart(4, "0")}/${String(i).padStart(7, "0")}.jpg`;
const className = (place) => (place < 0 ? "–" : gallery.names[place]);
const hasLabel = (i) => gallery.columns.label[i] >= 0;
const agrees = (i) => gallery.columns.label[i] === gallery.columns.class[i];
const hasOther = (i) => (gallery.columns.otherClass?.[i] ?? -1) >= 0;
const differs = (i) => hasOther(i) && gallery.columns.otherClass[i] !== gallery.columns.class[i];

function addRows(columns) {
  for (const [name, values] of Object.entries(columns)) (gallery.columns[name] ??= []).push(...values);
  gallery.size = gallery.columns.id.length;
}

function filter() {
  const { columns, state } = gallery;
  const wanted = state.search.trim().toLowerCase();
  const found = [];
  for (let i = 0; i < gallery.size; i++) {
    if (state.class >= 0 && columns.class[i] !== state.class) continue;
    if (state.label >= 0 && columns.label[i] !== state.label) continue;
    const probability = 100 * (columns.probability[i] ?? 0);
    // as in the chart, a range ends before its upper bound, but for the last
    if (probability < state.min || (probability >= state.max && state.max < 100)) continue;
    if (state.agree !== "all" && (!hasLabel(i) || agrees(i) !== (state.agree === "yes"))) continue;
    if (state.models !== "all" && (!hasOther(i) || differs(i) !== (state.models === "differ"))) continue;
    if (wanted && !columns.id[i].toLowerCase().includes(wanted)) continue;
    found.push(i);
  }
  const order = SORTS[state.sort].order;
  return order ? found.sort(order(columns)) : found;
}

/** The line under a tile: what the label, or the other model, says. */
function verdict(i) {
  const { columns } = gallery;
  const other = differs(i) ? `other: ${className(columns.otherClass[i])}` : null;
  const label = !hasLabel(i) ? null : agrees(i) ? "✓ as labelled" : `≠ ${className(columns.label[i])}`;
  const text = [label, other].filter(Boolean).join(" · ") || (hasOther(i) ? "both models agree" : "");
  const good = !other && (!hasLabel(i) || agrees(i));
  return make("span", { class: `verdict ${good ? "good" : "bad"}` }, text);
}

function shot(i, folder, what) {
  const missing = () => make("span", {}, "no picture");
  const box = make("span", { class: "shot" });
  const image = make("img", { alt: `Heat map over image ${gallery.columns.id[i]}: where the model sees ${what}`, loading: "lazy" });
  image.addEventListener("error", () => box.replaceChildren(missing()));
  image.src = thumbnail(i, folder);
  box.append(gallery.columns.thumbnail[i] ? image : missing());
  return box;
}

function caption(name, probability) {
  return make("span", { class: "caption" }, make("b", { title: name }, name), make("span", {}, percent(probability)));
}

/** A button with an image, that opens the detail view among `list`. */
function tile(i, list, tabIndex = 0) {
  const { columns } = gallery;
  const name = className(columns.class[i]);
  const button = { class: "tile", type: "button", tabIndex, "data-image": i, onclick: () => openDetail(i, list) };
  return make("button", button, shot(i, "thumbnails", name), caption(name, columns.probability[i]), verdict(i));
}

/** Two heat maps of one image, of this model and the other. */
function pairTile(i, list) {
  const { columns } = gallery;
  const [one, two] = [className(columns.class[i]), className(columns.otherClass[i])];
  const iou = columns.iou[i] === null ? "no box in one of them" : `boxes overlap by ${percent(columns.iou[i])} (IoU)`;
  const label = hasLabel(i) ? ` · label: ${className(columns.label[i])}` : "";
  return make(
    "button",
    { class: "tile", type: "button", "data-image": i, onclick: () => openDetail(i, list) },
    shot(i, "thumbnails", one),
    shot(i, "thumbnails-other", two),
    caption(one, columns.probability[i]),
    caption(two, columns.otherProbability[i]),
    make("span", { class: "verdict" }, iou + label),
  );
}

function showTiles() {
  const { found, page } = gallery;
  const pages = Math.max(1, Math.ceil(found.length / PAGE_TILES));
  const here = found.slice(page * PAGE_TILES, (page + 1) * PAGE_TILES);
  const empty = gallery.size ? "No image passes these filters." : "There are no images in this output.";
  const tiles = here.map((i, place) => tile(i, found, place ? -1 : 0));
  byId("tiles").replaceChildren(...(here.length ? tiles : [make("p", { class: "empty" }, empty)]));
  byId("page").textContent = `${count(page + 1)} of ${count(pages)}`;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page + 1 >= pages;
  document.querySelector(".pager").hidden = pages === 1;
}

function turnPage(by, focusLast) {
  const pages = Math.ceil(gallery.found.length / PAGE_TILES);
  const page = Math.min(Math.max(gallery.page + by, 0), pages - 1);
  if (page === gallery.page) return;
  gallery.page = page;
  showTiles();
  const tiles = byId("tiles").children;
  if (focusLast === undefined) byId("gallery").scrollIntoView();
  else focusTile(focusLast ? tiles.length - 1 : 0);
}

function focusTile(place) {
  const tiles = [...byId("tiles").querySelectorAll(".tile")];
  const target = tiles[Math.min(place, tiles.length - 1)];
  for (const one of tiles) one.tabIndex = one === target ? 0 : -1;
  target?.focus();
}

/** Arrow keys move among the tiles and over the edge of a page; Home and End go to its first and last. */
function onTileKey(event) {
  const tiles = [...byId("tiles").querySelectorAll(".tile")];
  const place = tiles.indexOf(document.activeElement);
  if (place < 0) return;
  const perRow = tiles.filter((one) => one.offsetTop === tiles[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow }[event.key];
  if (step) {
    const to = place + step;
    if (to >= 0 && to < tiles.length) focusTile(to);
    else turnPage(Math.sign(step), step < 0);
  } else if (event.key === "Home") focusTile(0);
  else if (event.key === "End") focusTile(tiles.length - 1);
  else return;
  event.preventDefault();
}

/** Applies a change of the filters: what is found, the controls, the address. */
function apply(change = {}, { keepPage = false } = {}) {
  const { state } = gallery;
  Object.assign(state, change);
  if (!keepPage) gallery.page = 0;
  gallery.found = filter();
  const [found, all] = [gallery.found.length, gallery.summary.gallery.images];
  const loading = gallery.size < all ? `, ${count(gallery.size)} of ${count(all)} loaded so far` : "";
  byId("count").textContent =
    (found === all ? plural(all, "image") : `${count(found)} of ${plural(all, "image")}`) + loading;
  byId("f-class").value = state.class;
  byId("f-label").value = state.label;
  byId("f-sort").value = state.sort;
  byId("f-min").value = state.min;
  byId("f-max").value = state.max;
  if (byId("f-search").value !== state.search) byId("f-search").value = state.search;
  byId("f-range").textContent = `${state.min} to ${state.max} %`;
  const track = document.querySelector(".track");
  track.style.setProperty("--from", `${state.min}%`);
  track.style.setProperty("--to", `${state.max}%`);
  for (const name of ["agree", "models"])
    for (const radio of document.querySelectorAll(`input[name="${name}"]`)) radio.checked = radio.value === state[name];
  const changed = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  byId("clear").hidden = !changed.some(([name]) => name !== "sort");
  history.replaceState(null, "", changed.length ? `#${new URLSearchParams(changed)}` : location.pathname + location.search);
  showTiles();
}

/** Filters by nothing but this, and goes there. */
function showOnly(change) {
  apply({ ...DEFAULTS, ...change });
  byId("gallery").scrollIntoView();
  byId("gallery").focus({ preventScroll: true });
}

function stateFromAddress() {
  const state = {};
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    const value = typeof DEFAULTS[name] === "number" ? Number(text) : text;
    if (name in DEFAULTS && !Number.isNaN(value) && (name !== "sort" || text in SORTS)) state[name] = value;
  }
  return state;
}

function setUpGallery(summary) {
  gallery.summary = summary;
  const { totals, classes } = summary;
  const has = { labels: totals.labelled > 0, compare: Boolean(summary.compare), consistency: totals.hasConsistency };
  for (const field of document.querySelectorAll("[data-needs]")) field.hidden = !has[field.dataset.needs];
  for (const [name, { needs }] of Object.entries(SORTS)) if (needs && !has[needs]) delete SORTS[name];
  const option = (value, text) => make("option", { value }, text);
  const choices = (id, amounts) => {
    const places = gallery.names.map((_, place) => place).filter((place) => amounts[place]);
    places.sort((a, b) => gallery.names[a].localeCompare(gallery.names[b]));
    byId(id).append(option(-1, "all"), ...places.map((p) => option(p, `${gallery.names[p]} (${count(amounts[p])})`)));
  };
  choices("f-class", classes.images);
  choices("f-label", classes.labels);
  byId("f-sort").append(...Object.entries(SORTS).map(([value, { name }]) => option(value, name)));
  const radios = (id, name, values) =>
    byId(id).append(
      ...Object.entries(values).map(([value, text]) =>
        make("label", {}, make("input", { type: "radio", name, value, onchange: () => apply({ [name]: value }) }), make("span", {}, text)),
      ),
    );
  radios("f-agree", "agree", { all: "All", yes: "Agrees", no: "Disagrees" });
  radios("f-models", "models", { all: "All", agree: "Agree", differ: "Differ" });
  byId("f-class").addEventListener("change", (event) => apply({ class: Number(event.target.value) }));
  byId("f-label").addEventListener("change", (event) => apply({ label: Number(event.target.value) }));
  byId("f-sort").addEventListener("change", (event) => apply({ sort: event.target.value }));
  byId("f-search").addEventListener("input", (event) => apply({ search: event.target.value }));
  byId("f-min").addEventListener("input", (event) => apply({ min: Math.min(Number(event.target.value), gallery.state.max) }));
  byId("f-max").addEventListener("input", (event) => apply({ max: Math.max(Number(event.target.value), gallery.state.min) }));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => apply({ ...DEFAULTS, sort: gallery.state.sort }));
  byId("previous").addEventListener("click", () => turnPage(-1));
  byId("next").addEventListener("click", () => turnPage(1));
  byId("tiles").addEventListener("keydown", onTileKey);
  setUpDetail();
  apply(stateFromAddress());
}
