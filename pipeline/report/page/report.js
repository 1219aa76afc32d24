"use strict";
// The page: filled from data/summary.js, then the gallery's pages are loaded one after another; and its theme.
const STRIP = 12; // tiles in a section that is not the gallery
const SECTIONS = { compare: "Two models", distributions: "Distributions", mistakes: "Mistakes", classes: "Classes", gallery: "Gallery", rejects: "Rejects", making: "Making" };
const inSection = (id, selector) => document.querySelector(`#${id} ${selector}`);

/** Called by data/summary.js. */
function start(summary) {
  gallery.names = uniqueNames(summary.classes);
  showOverview(summary);
  if (summary.compare) showComparison(summary);
  showDistributions(summary);
  showClasses(summary);
  if (summary.totals.labelled) showConfusions(summary);
  showRejects(summary);
  showMaking(summary);
  setUpGallery(summary);
  const links = Object.entries(SECTIONS).filter(([id]) => !byId(id).hidden);
  // the address keeps the filters, so a link scrolls and leaves it alone
  const go = (id) => (event) => (event.preventDefault(), byId(id).scrollIntoView());
  document.querySelector("nav").append(...links.map(([id, name]) => make("a", { href: `#${id}`, onclick: go(id) }, name)));
  loadPage(0);
}

/** Called by data/rows-*.js. */
function rows(page, columns) {
  addRows(columns);
  const { pages } = gallery.summary.gallery;
  if (page === 0 || page + 1 === pages) apply({}, { keepPage: true });
  if (page + 1 < pages) loadPage(page + 1);
  else showStrips();
}

function loadPage(page) {
  const { pages } = gallery.summary.gallery;
  if (page >= pages) return void (document.documentElement.dataset.ready = "");
  const name = `data/rows-${String(page).padStart(4, "0")}.js`;
  const failed = () => (byId("count").textContent = `${name} can't be read: was the folder copied whole?`);
  document.body.append(make("script", { src: name, onerror: failed }));
}

/** Once all rows are here: the strips of the other sections. */
function showStrips() {
  const { columns, summary } = gallery;
  const best = (wanted, value) => {
    const found = columns.id.map((_, i) => i).filter(wanted);
    return found.sort((a, b) => value(b) - value(a)).slice(0, STRIP);
  };
  if (summary.totals.labelled) {
    const wrong = best((i) => hasLabel(i) && !agrees(i), (i) => columns.probability[i]);
    const tiles = wrong.map((i) => tile(i, wrong));
    inSection("mistakes", ".tiles").replaceChildren(
      ...(tiles.length ? tiles : [make("p", { class: "empty", style: "grid-column:1/-1" }, "None: every label agrees.")]),
    );
  }
  if (summary.compare) {
    const different = best(differs, (i) => Math.min(columns.probability[i], columns.otherProbability[i]));
    byId("pairs").replaceChildren(...different.map((i) => pairTile(i, different)));
  }
  document.documentElement.dataset.ready = "";
}

/** Names of classes; those that several share get their index. */
function uniqueNames({ name, index }) {
  const times = new Map();
  for (const one of name) times.set(one, (times.get(one) ?? 0) + 1);
  return name.map((one, place) => (times.get(one) > 1 ? `${one} (${index[place]})` : one));
}

/** A model's name; where the other has the same, the folder of its output too. */
function modelName(about, other) {
  const folder = other?.model === about.model ? ` (${about.path.split("/").at(-1)})` : "";
  return (about.model ?? "a model") + (other ? folder : "");
}

function figures(where, values) {
  const cells = values.filter(Boolean).map(([name, value, note]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: "value" }, value), note ? make("dd", { class: "note" }, note) : null),
  );
  where.replaceChildren(...cells);
}

function showOverview({ about, totals, other }) {
  document.title = `${count(totals.images)} images, ${about.model ?? "cambeam"} – cambeam report`;
  const finished = about.finished && new Date(about.finished);
  const when = finished ? `, ${finished.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}` : "";
  const beside = other ? ` beside ${modelName(other, about)}` : "";
  inSection("overview", ".kicker").textContent = modelName(about, other) + beside + when;
  inSection("overview", "h1").textContent = `${plural(totals.images, "image")} labelled`;
  inSection("overview", ".path").textContent = about.path;
  byId("incomplete").hidden = totals.shards === totals.planned;
  byId("incomplete").textContent = `This run is not complete: ${count(totals.shards)} of ${plural(totals.planned, "shard")} are done, and the figures are theirs.`;
  const read = totals.images + totals.rejected;
  const worked = Object.values(totals.seconds).reduce((a, b) => a + b, 0);
  const speed = totals.imagesPerSecond ?? (worked ? Math.round((10 * read) / worked) / 10 : null);
  const byClock = totals.imagesPerSecond !== null;
  figures(inSection("overview", ".figures"), [
    totals.labelled && ["agree with the label", share(totals.agree, totals.labelled), `${count(totals.agree)} of ${count(totals.labelled)} labelled`],
    ["median probability", percent(totals.medianProbability), "of the class seen"],
    ["have a box", share(totals.boxes, totals.images), totals.images > totals.boxes ? `${count(totals.images - totals.boxes)} without` : totals.images ? "none without" : null],
    ["classes seen", count(totals.classesSeen), totals.classes ? `of ${count(totals.classes)} the model knows` : null],
    speed && ["images per second", speed.toLocaleString("en"), byClock ? "last run, start-up included" : "of work, summed over workers"],
    ["rejected", count(totals.rejected), totals.rejected ? `${share(totals.rejected, read)} of ${plural(read, "image")} read` : read ? "every image could be read" : null],
  ]);
}

// The theme: the system's, unless one was chosen here before.
function setUpTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme");
  let chosen = null;
  try { chosen = localStorage.getItem("cambeam-theme"); } catch { /* a page from disk may have no storage */ }
  const show = () => {
    const theme = chosen ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${theme === "dark" ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("cambeam-theme", chosen); } catch { /* then it holds for this visit */ }
    show();
  });
  system.addEventListener("change", show);
  show();
}

const cambeam = { start, rows };
setUpTheme();
