"use strict";
// Names of x-features, typed into the page: kept by the browser until they are in the file.

const state = JSON.parse(document.getElementById("names").textContent);
const naming = document.querySelector(".naming");
const inputs = [...document.querySelectorAll("input[data-class]")];
const storageKey = `vitrine names ${state.file} ${location.pathname}`;
const idOf = (input) => `${input.dataset.number} ${input.dataset.class}`;

// Some browsers keep nothing for pages that are opened from a file.
const stored = () => {
  try { return JSON.parse(localStorage.getItem(storageKey)) ?? {}; } catch { return {}; }
};
const store = (typed) => {
  try { localStorage.setItem(storageKey, JSON.stringify(typed)); return true; } catch { return false; }
};

const typedNames = () => Object.fromEntries(
  inputs.filter((input) => input.value !== input.defaultValue).map((input) => [idOf(input), input.value]));

const namesNow = () => {
  const names = state.names.map(([className, entries]) => [className, [...entries]]);
  const byClass = new Map(names);
  for (const input of inputs) byClass.get(input.dataset.class)[input.dataset.number - 1] = input.value.trim();
  return names;
};

let savedText = null;
const show = () => {
  const typed = typedNames(), count = Object.keys(typed).length;
  const isKept = store(typed);
  for (const input of inputs) input.classList.toggle("changed", input.value !== input.defaultValue);
  naming.querySelector(".discard").hidden = !count;
  const words = count === 1 ? "1 name differs from the file" : `${count} names differ from the file`;
  naming.querySelector("output").value = !count ? "" : yamlOfNames(namesNow()) === savedText ? "Saved."
    : `${words}${isKept ? "; kept in this browser" : ""}.`;
};

const download = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([yamlOfNames(namesNow())], { type: "application/yaml" }));
  link.download = "names.yaml";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  savedText = yamlOfNames(namesNow());
  show();
};

const saveInPlace = async () => {
  let handle;
  try { handle = await showSaveFilePicker({ suggestedName: "names.yaml" }); } catch { return; }
  const file = await handle.createWritable();
  await file.write(yamlOfNames(namesNow()));
  await file.close();
  savedText = yamlOfNames(namesNow());
  show();
};

const kept = stored();
for (const input of inputs) input.value = kept[idOf(input)] ?? input.defaultValue;
naming.addEventListener("submit", (event) => { event.preventDefault(); download(); });
naming.querySelector(".discard").addEventListener("click", () => {
  for (const input of inputs) input.value = input.defaultValue;
  show();
});
if ("showSaveFilePicker" in globalThis) {
  const button = naming.querySelector(".in-place");
  button.hidden = false;
  button.addEventListener("click", saveInPlace);
}
for (const input of inputs) input.addEventListener("input", show);
addEventListener("beforeunload", (event) => {
  if (Object.keys(typedNames()).length && !store(typedNames())) event.preventDefault();
});
show();
