"use strict";
// Cards of the gallery: elements made of the data of an image.

const texts = JSON.parse(document.getElementById("texts").textContent);

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};

const isLabelled = (card) => card.labels.length > 0;
const classesOf = (card) => (isLabelled(card) ? card.labels : [card.prediction]);
const verdictOf = (card) => (card.right === undefined ? "unknown" : card.right ? "right" : "wrong");
const minus = (text) => text.replace("-", "−");
const percent = (share) => (share === null ? "no value" : `${(100 * share).toFixed(1)} %`);
const figure = (value) => minus(String(Number(value.toPrecision(4))));

const metricText = (card, name) => (card.metrics[name] === null ? "no value" : figure(card.metrics[name]));

const scoreText = (tile, method) => {
  if (tile.score === null) return "no value";
  if (!tile.kind && texts[method]?.percent) return percent(tile.score);
  const sign = { aggregate: "Σ ", logit: "ŷ " }[tile.kind] ?? "";
  return minus(`${sign}${tile.score < 0 ? "" : "+"}${tile.score.toFixed(2)}`);
};

const photo = (card, alt = "") =>
  make("img", { src: card.photo, width: card.size[0], height: card.size[1], alt, loading: "lazy", decoding: "async" });

const heat = (tile, alt = "") => {
  const drawn = tile.picture ? " drawn" : tile.signed ? " signed" : "";
  const image = make("img", { class: `heat${drawn}`, src: tile.layer ?? tile.picture, alt, loading: "lazy" });
  image.style.setProperty("--share", tile.share ?? 1);
  return image;
};

const badge = (card) => {
  const words = { right: "✓ right", wrong: "✗ wrong" }[verdictOf(card)];
  return words ? make("span", { class: `badge ${verdictOf(card)}` }, words) : null;
};

const fact = (name, ...value) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value));

const facts = (card) => {
  const list = make("dl", {});
  if (isLabelled(card)) list.append(fact("Label", card.labels.join(", ")));
  list.append(fact("Prediction", card.prediction, " ", make("b", { class: "probability" }, percent(card.probability))));
  if (card.explained !== undefined) list.append(fact("Explained", card.explained));
  const sortedBy = form.elements.sort.value.replace(/^(low|high) /, "");
  if (card.metrics?.[sortedBy] !== undefined) list.append(fact(sortedBy, metricText(card, sortedBy)));
  const links = Object.entries(card.links ?? {}).map(([words, href]) => make("a", { href }, words));
  return make("div", { class: "metadata" }, make("h3", {}, card.key), badge(card), list, ...links);
};

// The method's name stands above already.
const shortLabel = (tile, method) =>
  method && tile.label.startsWith(`${method} of `) ? tile.label.slice(method.length + 4) : tile.label;

const TITLES = {
  aggregate: "All heatmaps of a positive score together, on a scale of its own",
  logit: "Explains the logit ŷ as a whole; no feature, shown for comparison on a scale of its own",
};

const tileElement = (card, tile, method, hasBar) => {
  const score = scoreText(tile, method);
  const shown = tile.layer ?? tile.picture;
  const alt = `Heatmap of ${tile.label} on ${card.key}, ${score}`;
  const frame = make("button", { type: "button", class: "frame", "aria-label": `${alt}; enlarge` }, photo(card),
    shown ? heat(tile) : make("span", { class: "note" }, "no positive evidence"));
  frame.addEventListener("click", () => openZoom(card, tile));
  const name = make("b", { title: tile.label, class: tile.layerKind && `layer-${tile.layerKind}` }, shortLabel(tile, method));
  const element = make("figure", { class: tile.kind ?? null, title: TITLES[tile.kind] },
    make("figcaption", {}, name, make("span", { class: "score" }, score)), frame);
  if (hasBar && !tile.kind) {
    const bar = make("i", { class: `bar ${tile.score < 0 ? "negative" : "positive"}` });
    bar.style.width = `${Math.round(100 * barShare(card, tile))}%`;
    element.append(bar);
  }
  return element;
};

const heatmapsOf = (group) => group.tiles.filter((tile) => !tile.kind);

const barShare = (card, tile) => {
  const group = card.groups.find((one) => one.tiles.includes(tile));
  const largest = Math.max(...heatmapsOf(group).map((one) => Math.abs(one.score ?? 0)));
  return largest > 0 ? Math.abs(tile.score ?? 0) / largest : 0;
};

const photoElement = (card) => {
  const alt = `${card.key}, predicted as ${card.prediction}`;
  const frame = make("button", { type: "button", class: "frame", "aria-label": `${alt}; enlarge` }, photo(card, alt));
  frame.addEventListener("click", () => openZoom(card, null));
  const caption = make("figcaption", {}, make("b", {}, "image"), make("span", { class: "score" }, "\u00a0"));
  return make("figure", { class: "photo" }, caption, frame);
};

const groupElements = (card, group) => {
  const hasBar = heatmapsOf(group).length > 1;
  return group.tiles.map((tile) => {
    const element = tileElement(card, tile, group.method, hasBar);
    if (group.method && card.groups.length > 1) element.prepend(make("p", { class: "method" }, group.method));
    return element;
  });
};

const cardElement = (card) =>
  make("article", { "data-verdict": verdictOf(card) }, facts(card),
    make("div", { class: "tiles" }, photoElement(card), ...card.groups.flatMap((group) => groupElements(card, group))));

const thumbnail = (card) => {
  const label = `${card.key}: ${card.prediction}, ${percent(card.probability)}`;
  const element = make("button", { type: "button", class: "thumbnail", "data-verdict": verdictOf(card), title: label,
    "aria-label": label }, photo(card), make("span", {}, badge(card) && verdictOf(card) === "wrong" ? "✗ " : "", card.prediction));
  element.addEventListener("click", () => openZoom(card, null));
  return element;
};
