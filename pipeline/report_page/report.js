"use strict";
// The page: sections filled from data/summary.js, then the gallery's pages loaded one after another.
const STRIP = 12; // tiles in a section that is not the gallery
const CLASSES_SHOWN = 16;
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
  figures(inSection("overview", ".figures"), [
    totals.labelled && ["agree with the label", share(totals.agree, totals.labelled), `${count(totals.agree)} of ${count(totals.labelled)} labelled`],
    ["median probability", percent(totals.medianProbability), "of the class seen"],
    ["have a box", share(totals.boxes, totals.images), totals.images > totals.boxes ? `${count(totals.images - totals.boxes)} without` : "none without"],
    ["classes seen", count(totals.classesSeen), totals.classes ? `of ${count(totals.classes)} the model knows` : null],
    totals.imagesPerSecond && ["images per second", totals.imagesPerSecond.toLocaleString("en"), "last run, start-up included"],
    ["rejected", count(totals.rejected), totals.rejected ? `${share(totals.rejected, read)} of ${plural(read, "image")} read` : "every image could be read"],
  ]);
}

function showDistributions({ distributions, totals }) {
  const [agree, disagree, unlabelled] = distributions.probability;
  const labelled = totals.labelled > 0;
  inSection("distributions", ".lead").textContent = `Over all ${plural(totals.images, "image")}. Choose a bar of the first chart to see its images.`;
  const charts = [
    histogram({
      title: "How sure the model is",
      note: labelled ? "and how often the label agrees" : "probability of the class it sees",
      x: "Probability",
      series: [
        { name: "agrees with the label", kind: "accent", values: agree },
        { name: "disagrees", kind: "warm", values: disagree },
        { name: "no label", kind: labelled ? "neutral" : "accent", values: unlabelled },
      ],
      choose: (min, max) => showOnly({ min, max }),
    }),
    histogram({
      title: "How large the box is",
      note: "its share of the image",
      x: "Box area",
      series: [{ name: "images", kind: "accent", values: distributions.area[0] }],
    }),
  ];
  if (totals.hasConsistency) {
    charts.push(
      histogram({
        title: "How consistent the map is",
        note: "higher means that the map holds when the image changes",
        x: "Consistency",
        series: [{ name: "images", kind: "accent", values: distributions.consistency[0] }],
      }),
    );
  }
  inSection("distributions", ".charts").replaceChildren(...charts);
}

const CLASS_ORDERS = {
  images: ["Most images", (c) => (a, b) => c.images[b] - c.images[a]],
  agreement: ["Least agreement with the label", (c) => (a, b) => c.agree[a] / c.labelled[a] - c.agree[b] / c.labelled[b]],
  certain: ["Least certain", (c) => (a, b) => c.probability[a] - c.probability[b]],
  name: ["By name", () => (a, b) => gallery.names[a].localeCompare(gallery.names[b])],
};

function showClasses({ classes, totals }) {
  const seen = classes.images.map((_, place) => place).filter((place) => classes.images[place]);
  const most = Math.max(1, ...seen.map((place) => classes.images[place]));
  const labelled = totals.labelled > 0;
  inSection("classes", ".lead").textContent = `By the class the model sees, with the mean probability${labelled ? " and how often the label agrees" : ""}. Choose one to see its images.`;
  const row = (place) => {
    const images = classes.images[place];
    const width = `max(2px, calc((100% - 4.5rem) * ${images / most}))`;
    const cells = [
      make("span", { class: "name", title: gallery.names[place] }, gallery.names[place]),
      make("span", { class: "meter" }, make("i", { class: "accent", style: `width:${width}` }), count(images)),
      make("span", {}, percent(classes.probability[place])),
    ];
    if (labelled) cells.push(make("span", {}, share(classes.agree[place], classes.labelled[place])));
    const kind = labelled ? "row" : "row plain";
    return make("div", { role: "listitem" }, make("button", { class: kind, type: "button", onclick: () => showOnly({ class: place }) }, ...cells));
  };
  const names = ["Class", "Images", "Probability", ...(labelled ? ["Agrees"] : [])];
  const head = make("div", { class: labelled ? "row head" : "row plain head", "aria-hidden": "true" }, ...names.map((name) => make("span", {}, name)));
  let all = seen.length <= CLASSES_SHOWN + 4;
  const show = () => {
    const order = CLASS_ORDERS[byId("class-order").value][1](classes);
    // a class without labels has no agreement (NaN), and no place in that order but the last
    const places = [...seen].sort((a, b) => { const by = order(a, b); return Number.isNaN(by) ? (classes.labelled[a] ? -1 : 1) : by; });
    const rows = (all ? places : places.slice(0, CLASSES_SHOWN)).map(row);
    byId("class-list").replaceChildren(...(rows.length ? [head, ...rows] : [make("p", { class: "empty" }, "No class has been seen.")]));
    byId("class-more").hidden = all;
  };
  const orders = Object.entries(CLASS_ORDERS).filter(([value]) => labelled || value !== "agreement");
  byId("class-order").append(...orders.map(([value, [name]]) => make("option", { value }, name)));
  byId("class-order").addEventListener("change", show);
  byId("class-more").textContent = `Show all ${count(seen.length)}`;
  byId("class-more").addEventListener("click", () => ((all = true), show()));
  inSection("classes", ".classes-head").hidden = !seen.length;
  show();
}

function showConfusions({ confusions, classes }) {
  byId("mistakes").hidden = false;
  const items = confusions.map(([label, predicted, images]) =>
    make(
      "li",
      {},
      make(
        "button",
        { type: "button", onclick: () => showOnly({ class: predicted, label }) },
        make("span", {}, gallery.names[label], make("i", {}, " seen as "), gallery.names[predicted]),
        make("i", {}, `${count(images)} of ${count(classes.labels[label])}`),
      ),
    ),
  );
  inSection("mistakes", ".confusions").replaceChildren(...items);
  inSection("mistakes", "h3").hidden = !items.length;
}

function showComparison({ compare, about, other, classes }) {
  byId("compare").hidden = false;
  const lead = `“This” is ${about.model ?? "a model"} in ${about.path}, “other” ${other.model ?? "a model"} in ${other.path}. Their images are matched by their bytes.`;
  inSection("compare", ".lead").textContent = lead;
  const [both, one, two, neither] = compare.verdicts;
  const alone = [compare.onlyThis && `${count(compare.onlyThis)} only here`, compare.onlyOther && `${count(compare.onlyOther)} only in the other`];
  figures(inSection("compare", ".figures"), [
    ["see the same class", share(compare.sameClass, compare.both), `${count(compare.both - compare.sameClass)} images differ`],
    ["mean overlap of the boxes", compare.meanIou === null ? "–" : percent(compare.meanIou), `IoU, ${plural(compare.withBoxes, "image")} with both`],
    ["images in both", count(compare.both), alone.filter(Boolean).join(", ") || "none is missing in either"],
    compare.labelled && ["this agrees with the label", share(both + one, compare.labelled), `alone on ${plural(one, "image")}`],
    compare.labelled && ["the other agrees with it", share(both + two, compare.labelled), `alone on ${plural(two, "image")}`],
    compare.labelled && ["neither does", share(neither, compare.labelled), plural(neither, "image")],
  ]);
  const [same, different] = compare.iou;
  inSection("compare", ".charts").replaceChildren(
    histogram({
      title: "How much the boxes overlap",
      note: "intersection over union of the two best boxes",
      x: "IoU",
      series: [
        { name: "same class", kind: "accent", values: same },
        { name: "different classes", kind: "warm", values: different },
      ],
    }),
    make(
      "figure",
      {},
      make("figcaption", {}, "Where they differ most", make("small", {}, "this sees → the other sees")),
      compare.differences.length
        ? make(
            "ul",
            { class: "confusions", style: "columns:1" },
            ...compare.differences.map(([mine, theirs, images]) =>
              make(
                "li",
                {},
                make(
                  "button",
                  { type: "button", onclick: () => showOnly({ class: mine, models: "differ" }) },
                  make("span", {}, gallery.names[mine], make("i", {}, " → "), gallery.names[theirs]),
                  make("i", {}, count(images)),
                ),
              ),
            ),
          )
        : make("p", { class: "empty" }, "Nowhere: both see the same class in every image."),
    ),
  );
}

function showRejects({ rejects, totals }) {
  inSection("rejects", ".lead").textContent = totals.rejected
    ? `${plural(totals.rejected, "image")} could not be labelled, by the kind of error, each with examples.`
    : "";
  const kinds = rejects.map(({ kind, stage, count: amount, examples }) =>
    make(
      "details",
      {},
      make("summary", {}, make("b", {}, kind), make("span", {}, ` in ${stage} · ${plural(amount, "image")}`)),
      make(
        "ul",
        { class: "examples" },
        ...examples.map(({ id, uri, message }) => make("li", {}, make("b", {}, id ?? ""), ` ${message ?? ""}`, make("code", {}, uri ?? ""))),
        ...(amount > examples.length ? [make("li", {}, `and ${count(amount - examples.length)} more`)] : []),
      ),
    ),
  );
  if (kinds.length) kinds[0].open = true;
  byId("reject-list").replaceChildren(...(kinds.length ? kinds : [make("p", { class: "empty" }, "Nothing was rejected.")]));
}

const SHADES = [1, 0.66, 0.44, 0.3, 0.2]; // of the stages, by their share of the work

function showMaking({ about, totals, gallery: shown }) {
  const stages = Object.entries(totals.seconds).filter(([, seconds]) => seconds > 0).sort((a, b) => b[1] - a[1]);
  const whole = stages.reduce((sum, [, seconds]) => sum + seconds, 0);
  if (whole) {
    const colour = (place) => `opacity:${SHADES[place] ?? 0.2}`;
    const images = totals.images + totals.rejected;
    const per = (seconds) => `${((1000 * seconds) / images).toFixed(1)} ms`;
    byId("stages").append(
      make("p", { class: "lead" }, `${per(whole)} of work per image, summed over workers and threads.`),
      make("div", { class: "strip", "aria-hidden": "true" }, ...stages.map(([, s], place) => make("i", { class: "accent", style: `flex:${s};${colour(place)}` }))),
      make("p", { class: "legend" }, ...stages.map(([stage, s], place) => make("span", {}, make("i", { class: "accent", style: colour(place) }), `${stage} ${per(s)} (${share(s, whole)})`))),
    );
  }
  const config = Object.entries(about.config).flatMap(([section, values]) => Object.entries(values).map(([key, value]) => [`${section}.${key}`, value === null ? "–" : String(value)]));
  byId("settings").replaceWith(
    factList([
      ["cambeam", about.version],
      ["fingerprint", about.fingerprint],
      ["precision", about.precisions.join(", ")],
      ["device", about.devices.join(", ")],
      ...config,
    ]),
  );
  const sampled = shown.images < totals.images;
  inSection("gallery", ".lead").textContent = sampled
    ? `A sample of ${count(shown.images)} of ${plural(totals.images, "image")}: the least certain and the most confident mistakes, some of every class, and others by the hash of their bytes, so that it stays the same. Every figure elsewhere covers all images.`
    : "The heat shows where the model sees the class. Arrow keys move, Enter opens an image, Esc closes it.";
  document.querySelector("footer").textContent = `cambeam ${about.version ?? ""} · ${about.path}`;
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
