"use strict";
// Controls of the gallery.

const form = document.querySelector(".controls");
const main = document.querySelector("main");
const root = document.documentElement;
let page = 0;
let selected = { lists: [], counts: {} };

const wanted = () => Object.fromEntries(
  ["search", "sort", "class", "beside", "verdict", "layout"].map((name) => [name, form.elements[name].value]));

const shownCards = () => [...new Set(selected.lists.flatMap((list) => list.found))];

const counted = (count) => (count === 1 ? "1 image" : `${count.toLocaleString("en")} images`);

const setOptions = (name, options) =>
  form.elements[name].replaceChildren(...options.map(([value, words]) => make("option", { value }, words)));

const showCounts = () => {
  const shown = shownCards().length;
  form.querySelector("output").value = shown === cards.length
    ? counted(shown) : `${shown.toLocaleString("en")} of ${counted(cards.length)}`;
  for (const radio of form.elements.verdict) {
    const words = { "": "All", right: "Right", wrong: "Wrong" }[radio.value];
    radio.nextElementSibling.textContent = `${words} ${selected.counts[radio.value].toLocaleString("en")}`;
  }
};

const pager = (now) => {
  const last = pageCount(selected.lists, now) - 1;
  if (!last) return [];
  const button = (words, label, to) => {
    const element = make("button", { type: "button", disabled: to < 0 || to > last || to === page, "aria-label": label }, words);
    element.addEventListener("click", () => turn(to));
    return element;
  };
  const place = make("span", {}, `Page ${page + 1} of ${(last + 1).toLocaleString("en")}`);
  return [make("nav", { class: "pager", "aria-label": "Pages" }, button("«", "First page", 0),
    button("‹", "Previous page", page - 1), place, button("›", "Next page", page + 1), button("»", "Last page", last))];
};

const draw = () => {
  const now = wanted();
  const isPair = selected.lists.length > 1;
  main.className = isPair ? "pair" : "";
  main.replaceChildren(...selected.lists.map((list) => listElement(list, now, page, isPair || now.class)), ...pager(now));
};

const turn = (to) => {
  const now = wanted();
  const pressed = document.activeElement?.closest(".pager button")?.getAttribute("aria-label");
  page = Math.min(Math.max(to, 0), pageCount(selected.lists, now) - 1);
  draw();
  const buttons = [...main.querySelectorAll(".pager button:not(:disabled)")];
  if (pressed) (buttons.find((one) => one.getAttribute("aria-label") === pressed) ?? buttons[0])?.focus({ preventScroll: true });
  const covered = getComputedStyle(form).position === "sticky" ? form.offsetHeight : 0;
  const { top } = main.getBoundingClientRect();
  if (top < covered) scrollTo({ top: scrollY + top - covered });
};

const refresh = () => {
  selected = select(wanted());
  page = 0;
  showCounts();
  draw();
};

const restyle = () => {
  const { view, scale, opacity } = form.elements;
  root.dataset.view = view.value;
  root.dataset.scale = scale.value;
  root.style.setProperty("--opacity", opacity.value / 100);
};

const classNames = [...new Set(cards.flatMap(classesOf))].sort(byName.compare);
setOptions("sort", Object.entries(ORDERS).map(([name, [words]]) => [name, words]));
setOptions("class", [["", "all classes"], ...classNames.map((name) => [name, name])]);
setOptions("beside", [["", "no other class"], ...classNames.map((name) => [name, name])]);
form.querySelector(".verdict").hidden = !hasLabels;
// Overlays that are pictures by themselves are drawn in one way.
const isDrawn = cards.every((card) => card.groups.every((group) => group.tiles.every((tile) => !tile.layer)));
for (const name of ["view", "opacity"]) form.elements[name].closest("label").hidden = isDrawn;
// Where no image has several heatmaps, each is on its own scale.
const isAlone = cards.every((card) => card.groups.every((group) => heatmapsOf(group).length < 2));
if (isAlone) form.elements.scale.value = "own";
form.elements.scale.closest("label").hidden = isDrawn || isAlone;
document.querySelector(".about.metrics")?.toggleAttribute("open", matchMedia("(min-width: 700px)").matches);
document.querySelector(".about.settings")?.toggleAttribute("open", matchMedia("(min-width: 700px)").matches);
form.addEventListener("submit", (event) => event.preventDefault());
form.elements.search.addEventListener("input", refresh);
form.addEventListener("change", (event) => {
  if (["sort", "class", "beside", "verdict", "layout"].includes(event.target.name)) refresh();
  else restyle();
});
form.elements.opacity.addEventListener("input", restyle);
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, textarea, dialog");
  if (isTyping || zoom?.open || event.altKey || event.ctrlKey || event.metaKey) return;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) turn(page + step);
  if (event.key === "/") { event.preventDefault(); form.elements.search.focus(); }
});
restyle();
refresh();
