"use strict";
// The enlarged picture: the original where the gallery has it, with a heatmap over the part that the network saw.

const zoom = document.querySelector(".zoom");
const zoomed = { card: null, tile: null };

const placed = (image, region) => {
  if (!region) return image;
  const [left, top, right, bottom] = region.map((share) => 100 * share);
  Object.assign(image.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
  return image;
};

// Its own size, or the largest that fits; small pictures are enlarged.
const sizeZoom = () => {
  const layers = zoom.querySelector(".layers"), stage = zoom.querySelector(".stage"), picture = layers.firstChild;
  if (!picture?.naturalWidth) return;
  const fitting = Math.min(stage.clientWidth / picture.naturalWidth, stage.clientHeight / picture.naturalHeight);
  const scale = zoom.classList.contains("own-size") ? 1 : fitting;
  layers.style.width = `${Math.floor(scale * picture.naturalWidth)}px`;
  layers.style.height = `${Math.floor(scale * picture.naturalHeight)}px`;
};

const drawZoom = () => {
  const { card, tile } = zoomed;
  const picture = make("img", { src: card.original ?? card.photo, alt: card.key });
  picture.addEventListener("load", sizeZoom);
  const layers = zoom.querySelector(".layers");
  layers.replaceChildren(picture);
  if (tile && (tile.layer ?? tile.picture)) layers.append(placed(heat(tile, `Heatmap of ${tile.label}`), card.region));
  zoom.querySelector("h2").textContent = card.key;
  const words = [`${card.prediction} ${percent(card.probability)}`];
  if (isLabelled(card)) words.unshift(`label ${card.labels.join(", ")}`);
  if (!card.original) words.push("shown as the network saw it");
  for (const name of Object.keys(card.metrics ?? {})) words.push(`${name} ${metricText(card, name)}`);
  zoom.querySelector(".zoom-facts").textContent = words.join(" · ");
  const maps = zoom.querySelector(".zoom-maps"), hadFocus = maps.contains(document.activeElement);
  maps.replaceChildren(...zoomChoices(card));
  if (hadFocus) maps.querySelector("[aria-pressed=true]").focus();
};

const zoomChoices = (card) => {
  const several = card.groups.length > 1;
  const choice = (tile, words) => {
    const button = make("button", { type: "button", "aria-pressed": String(tile === zoomed.tile) }, words);
    button.addEventListener("click", () => { zoomed.tile = tile; drawZoom(); });
    return button;
  };
  return [choice(null, "image"), ...card.groups.flatMap((group) => group.tiles.map((tile) =>
    choice(tile, `${several ? `${group.method}: ` : ""}${several ? shortLabel(tile, group.method) : tile.label} ${scoreText(tile, group.method)}`)))];
};

const openZoom = (card, tile) => {
  Object.assign(zoomed, { card, tile });
  drawZoom();
  if (!zoom.open) zoom.showModal();
};

// The same map of the next image, or its picture where it has none of that place.
const stepZoom = (step) => {
  const list = shownCards();
  const next = list[list.indexOf(zoomed.card) + step];
  if (!next) return;
  const tiles = (card) => card.groups.flatMap((group) => group.tiles);
  openZoom(next, zoomed.tile && (tiles(next)[tiles(zoomed.card).indexOf(zoomed.tile)] ?? null));
};

const setFit = (isOwnSize) => {
  zoom.classList.toggle("own-size", isOwnSize);
  zoom.querySelector("[data-fit]").setAttribute("aria-pressed", String(isOwnSize));
  sizeZoom();
};

if (zoom) {
  addEventListener("resize", sizeZoom);
  zoom.querySelector("[data-close]").addEventListener("click", () => zoom.close());
  zoom.querySelector("[data-fit]").addEventListener("click", () => setFit(!zoom.classList.contains("own-size")));
  for (const button of zoom.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => stepZoom(Number(button.dataset.step)));
  }
  zoom.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || zoom.classList.contains("own-size")) return;
    event.preventDefault();
    stepZoom(step);
  });
  zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
}
