"use strict";
// The detail view: one image of a list, what is known of it, and the way to its neighbours.
const detail = { image: 0, list: [] };

function setUpDetail() {
  const dialog = byId("detail");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) stepDetail(step);
  });
  dialog.addEventListener("close", () => {
    const place = detail.list === gallery.found ? gallery.found.indexOf(detail.image) : -1;
    if (place < 0) return;
    gallery.page = Math.floor(place / PAGE_TILES);
    showTiles();
    focusTile(place % PAGE_TILES);
  });
}

function openDetail(image, list) {
  Object.assign(detail, { image, list });
  showDetail();
  byId("detail").showModal();
}

function stepDetail(step) {
  const place = detail.list.indexOf(detail.image) + step;
  if (place < 0 || place >= detail.list.length) return;
  detail.image = detail.list[place];
  const focused = document.activeElement?.dataset.step;
  showDetail();
  // the view is drawn anew: the focus goes back to the button it was on, as long as that can be pressed
  const again = byId("detail").querySelector(`[data-step="${focused}"]:not(:disabled)`);
  (again ?? byId("detail").querySelector(".steps .quiet")).focus();
}

function showDetail() {
  const { columns, summary } = gallery;
  const i = detail.image;
  const name = className(columns.class[i]);
  const large = (folder, what, text) => {
    const box = shot(i, folder, what);
    return make("figure", {}, ...box.childNodes, text ? make("figcaption", {}, text) : null);
  };
  const pictures = hasOther(i)
    ? [large("thumbnails", name, `this: ${name}`), large("thumbnails-other", className(columns.otherClass[i]), `other: ${className(columns.otherClass[i])}`)]
    : [large("thumbnails", name)];
  const place = detail.list.indexOf(i);
  byId("detail").replaceChildren(
    make(
      "div",
      { class: "sheet" },
      make("div", { class: pictures.length > 1 ? "shots two" : "shots" }, ...pictures),
      make(
        "div",
        { class: "told" },
        make("h2", { id: "detail-title" }, name),
        detailVerdict(i),
        make("div", { class: "bars" }, ...detailBars(i)),
        factList(detailFacts(i, summary.shards[columns.shard[i]])),
        make(
          "div",
          { class: "steps" },
          make("button", { class: "button", type: "button", disabled: place <= 0, onclick: () => stepDetail(-1), "aria-label": "Previous image", "data-step": "-1" }, "←"),
          make("button", { class: "button", type: "button", disabled: place + 1 >= detail.list.length, onclick: () => stepDetail(1), "aria-label": "Next image", "data-step": "1" }, "→"),
          make("span", { class: "verdict", style: "margin:0" }, `${count(place + 1)} of ${count(detail.list.length)}`),
          make("button", { class: "quiet", type: "button", onclick: () => byId("detail").close() }, "Close (Esc)"),
        ),
      ),
    ),
  );
}

function detailVerdict(i) {
  if (!hasLabel(i)) return make("p", { class: "verdict" }, "This image has no label.");
  if (agrees(i)) return make("p", { class: "verdict good" }, "✓ The label says so too.");
  return make("p", { class: "verdict bad" }, `≠ The label says ${className(gallery.columns.label[i])}.`);
}

function detailBars(i) {
  const { columns } = gallery;
  const bars = shareBar(className(columns.class[i]), columns.probability[i], "accent");
  for (const [place, probability] of columns.top[i]) bars.push(...shareBar(className(place), probability, "neutral"));
  if (hasOther(i)) bars.push(...shareBar(`other: ${className(columns.otherClass[i])}`, columns.otherProbability[i], "warm"));
  return bars;
}

function detailFacts(i, shard) {
  const { columns } = gallery;
  const [width, height] = columns.size[i];
  const box = columns.box[i];
  const px = (value) => Math.round(value);
  return [
    ["Box", box ? `x ${px(box[0])} to ${px(box[2])}, y ${px(box[1])} to ${px(box[3])} px` : "none"],
    ["Box area", box ? `${percent(columns.area[i])} of the image` : null],
    ["Box score", box ? box[4].toFixed(2) : null],
    ["Overlap of boxes", columns.iou?.[i] != null ? `${percent(columns.iou[i])} (IoU)` : null],
    ["Consistency", columns.consistency[i] !== null ? columns.consistency[i].toFixed(2) : null],
    ["Size", `${width} × ${height} px`],
    ["Image", columns.id[i]],
    ["Shard", shard.id],
    ["Source", columns.uri[i].startsWith("#") ? shard.uri + columns.uri[i] : columns.uri[i] || shard.uri],
  ];
}

function factList(facts) {
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { class: "facts" }, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
}
