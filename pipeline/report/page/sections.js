"use strict";
// The sections that show figures: distributions, classes, confusions, two models, rejects, how it was made.
const CLASSES_SHOWN = 16;

function showDistributions({ distributions, totals }) {
  const [agree, disagree, unlabelled] = distributions.probability;
  const labelled = totals.labelled > 0;
  inSection("distributions", ".lead").textContent = totals.images ? `Over all ${plural(totals.images, "image")}. Choose a bar of the first chart to see its images.` : "";
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
  const images = totals.images + totals.rejected;
  if (whole && images) {
    const colour = (place) => `opacity:${SHADES[place] ?? 0.2}`;
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
