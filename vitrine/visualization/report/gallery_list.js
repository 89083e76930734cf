"use strict";
// The list of the gallery: which cards match, in which order, a page at a time.

const PAGE_SIZES = { cards: matchMedia("(max-width: 699px)").matches ? 10 : 20, thumbnails: 120 };
const cards = globalThis.galleryCards;
const given = new Map(cards.map((card, place) => [card, place]));
const hasLabels = cards.some((card) => card.right !== undefined);
const byName = new Intl.Collator(undefined, { numeric: true });

// Wrong predictions first, those of the least probable true class before others; then right ones; then unknown ones.
const wrongness = (card) => (card.right === undefined ? -1 : (card.right ? 0 : 2) + 1 - card.true);

const metricNames = [...new Set(cards.flatMap((card) => Object.keys(card.metrics ?? {})))];
const metricOrder = (name, sign) => (a, b) => {
  const [x, y] = [a, b].map((card) => card.metrics?.[name] ?? null);
  return x === null || y === null ? (x === null) - (y === null) : sign * (x - y);
};

const ORDERS = {
  wrong: ["most wrong first", (a, b) => wrongness(b) - wrongness(a)],
  given: ["as given", () => 0],
  confident: ["most confident first", (a, b) => b.probability - a.probability],
  unsure: ["least confident first", (a, b) => a.probability - b.probability],
  name: ["by name", (a, b) => byName.compare(a.key, b.key)],
  class: ["by class", (a, b) => byName.compare(classesOf(a)[0], classesOf(b)[0]) || byName.compare(a.key, b.key)],
  ...Object.fromEntries(metricNames.flatMap((name) => [
    [`low ${name}`, [`${name}, lowest first`, metricOrder(name, 1)]],
    [`high ${name}`, [`${name}, highest first`, metricOrder(name, -1)]],
  ])),
};
if (!hasLabels) delete ORDERS.wrong;

const searched = new Map();
const textOf = (card) => {
  if (!searched.has(card)) {
    searched.set(card, [card.key, ...card.labels, card.prediction, card.explained ?? ""].join("\n").toLowerCase());
  }
  return searched.get(card);
};

const matching = (wanted) => {
  const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
  return cards.filter((card) =>
    (!wanted.class || classesOf(card).includes(wanted.class)) && words.every((word) => textOf(card).includes(word)));
};

const sorted = (list, order) => [...list].sort((a, b) => ORDERS[order][1](a, b) || given.get(a) - given.get(b));

// What is asked for, as {lists: [{title, found, shown}], counts}: two lists where two classes stand side by side.
const select = (wanted) => {
  const classes = wanted.beside ? [wanted.class, wanted.beside] : [wanted.class];
  const matches = classes.map((name) => matching({ ...wanted, class: name }));
  const all = new Set(matches.flat()); // an image of both classes counts once
  const counts = { "": all.size, right: 0, wrong: 0, unknown: 0 };
  for (const card of all) counts[verdictOf(card)] += 1;
  const lists = matches.map((found, place) => {
    const kept = found.filter((card) => !wanted.verdict || verdictOf(card) === wanted.verdict);
    return { title: classes[place] || "All classes", found: sorted(kept, wanted.sort) };
  });
  return { lists, counts };
};

const pageSize = (wanted) => PAGE_SIZES[wanted.layout] / (wanted.beside ? 2 : 1);
const pageCount = (lists, wanted) =>
  Math.max(1, Math.ceil(Math.max(...lists.map((list) => list.found.length)) / pageSize(wanted)));

const listElement = (list, wanted, page, isTitled) => {
  const shown = list.found.slice(page * pageSize(wanted), (page + 1) * pageSize(wanted));
  const body = wanted.layout === "thumbnails"
    ? [make("div", { class: "thumbnails" }, ...shown.map(thumbnail))]
    : shown.map(cardElement);
  const count = list.found.length === 1 ? "1 image" : `${list.found.length.toLocaleString("en")} images`;
  const title = isTitled ? make("h2", {}, list.title, " ", make("small", {}, count)) : null;
  return make("section", {}, title, ...(shown.length ? body : [make("p", { class: "none" }, "No image matches.")]));
};
