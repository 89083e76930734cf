"""Style sheet and script of the gallery, embedded in its page."""

STYLE = """
:root {
  --page: #f6f6f4; --sheet: #fff; --ink: #1c1c1a; --soft: #5f5f5a; --line: #dfdfda;
  --right: #1b6e3c; --right-bg: #e2f2e8; --wrong: #9d2a20; --wrong-bg: #fae6e3; --accent: #5b3fb0;
  --positive: #c8553d; --negative: #4a76b8; --heat: .8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #151517; --sheet: #1f1f22; --ink: #ececea; --soft: #a3a3a0; --line: #36363a;
    --right: #7fd3a0; --right-bg: #17372a; --wrong: #f09a8f; --wrong-bg: #43201c; --accent: #b5a2f5;
    --positive: #e08066; --negative: #7ea6e0;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main { max-width: 1500px; margin: 0 auto; padding: 0 clamp(12px, 3vw, 40px); }
header { padding-top: 36px; }
h1 { margin: 0; font-size: clamp(1.5rem, 3vw, 2.1rem); line-height: 1.2; letter-spacing: -.015em; text-wrap: balance; }
.lead { max-width: 70ch; margin: 10px 0 22px; color: var(--soft); }
sub { font-size: .7em; line-height: 0; }
.tables { display: flex; flex-wrap: wrap; gap: 20px 56px; margin-bottom: 24px; align-items: flex-start; }
table { border-collapse: collapse; min-width: min(100%, 260px); }
caption { text-align: left; padding-bottom: 5px; font-weight: 600; }
th, td { padding: 5px 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
th { padding-right: 32px; font-weight: 400; color: var(--soft); }
.figures th, td { overflow-wrap: anywhere; }
.figures td { text-align: right; font-variant-numeric: tabular-nums; font-weight: 600; }
.controls { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 8px 26px; align-items: center;
  padding: 10px max(clamp(12px, 3vw, 40px), calc((100% - 1500px) / 2 + clamp(12px, 3vw, 40px)));
  background: var(--sheet); border-block: 1px solid var(--line); }
.controls[hidden] { display: none; }
.controls > label, fieldset { display: flex; align-items: center; gap: 8px; color: var(--soft); }
fieldset { border: 0; margin: 0; padding: 0; }
legend { float: left; padding: 0; margin-right: 8px; }
fieldset label { cursor: pointer; }
fieldset input { position: absolute; opacity: 0; }
fieldset span { padding: 3px 11px; border: 1px solid var(--line); border-radius: 99px; }
fieldset input:checked + span { background: var(--ink); border-color: var(--ink); color: var(--sheet); }
fieldset input:focus-visible + span, .frame:focus-visible, select:focus-visible, input:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
select { font: inherit; max-width: 46vw; padding: 4px 8px; color: var(--ink); background: var(--page);
  border: 1px solid var(--line); border-radius: 7px; }
input[type=range] { width: 130px; accent-color: var(--accent); }
output { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; }
h2 { margin: 34px 0 12px; font-size: 1.25rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 small { margin-left: 6px; font-size: .8rem; font-weight: 400; letter-spacing: 0; color: var(--soft); }
article { margin-bottom: 16px; padding: 14px 18px 18px; background: var(--sheet); border: 1px solid var(--line);
  border-radius: 12px; }
[hidden] { display: none; }
.metadata { display: flex; flex-wrap: wrap; gap: 3px 14px; align-items: baseline; margin-bottom: 10px; }
h3 { margin: 0; font-size: .88rem; font-weight: 600; overflow-wrap: anywhere; }
.badge { padding: 0 9px; border-radius: 99px; font-size: .8rem; font-weight: 600; white-space: nowrap; }
.badge.right { color: var(--right); background: var(--right-bg); }
.badge.wrong { color: var(--wrong); background: var(--wrong-bg); }
dl { display: flex; flex-wrap: wrap; gap: 0 20px; margin: 0; font-size: .88rem; }
dl div { display: flex; gap: 8px; }
dt { color: var(--soft); }
dd { margin: 0; }
.probability { font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px 12px;
  align-items: end; }
figure { margin: 0; min-width: 0; }
figcaption { display: flex; gap: 8px; justify-content: space-between; margin-bottom: 4px; font-size: .8rem; }
figcaption b { font-weight: 500; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.score { flex: none; font-variant-numeric: tabular-nums; font-weight: 600; }
.aggregate b { font-weight: 600; }
.logit .frame:not(:focus-visible) { outline: 2px dashed var(--soft); outline-offset: 3px; }
.logit figcaption { color: var(--soft); margin-bottom: 8px; }
.logit b { font-style: italic; }
.sheets { display: flex; flex-wrap: wrap; gap: 18px; align-items: start; }
.sheets figure { flex: 0 1 auto; max-width: 100%; padding: 14px 18px 18px; background: var(--sheet);
  border: 1px solid var(--line); border-radius: 12px; }
.sheets figcaption { justify-content: start; align-items: baseline; font-size: .9rem; }
.sheets figcaption b { font-weight: 600; white-space: normal; }
.sheets figcaption span { color: var(--soft); }
.sheets img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
.where { margin: 8px 0 0; font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
code { padding: 1px 5px; border-radius: 5px; background: var(--page); font-size: .95em; }
.frame { position: relative; overflow: hidden; border-radius: 6px; background: var(--line); }
.frame img { display: block; width: 100%; height: auto; }
.frame .heat { position: absolute; inset: 0; height: 100%; opacity: var(--heat); transition: opacity .15s; }
.frame:hover .heat, .frame:focus .heat { opacity: 0; }
.note { position: absolute; inset: auto 0 0; padding: 3px 6px; color: #fff; background: rgb(0 0 0 / .65);
  font-size: .74rem; text-align: center; }
.bar { display: block; height: 3px; margin-top: 5px; border-radius: 2px; }
figure:not(:has(.bar)) { padding-bottom: 8px; }
.bar.positive { background: var(--positive); }
.bar.negative { background: var(--negative); }
main { padding-bottom: 60px; }
@media (max-width: 460px) { .tiles { grid-template-columns: repeat(2, 1fr); } output { margin-left: 0; } }
@media (prefers-reduced-motion: reduce) { .frame .heat { transition: none; } }
@media print { .controls { display: none; } article { break-inside: avoid; } body { background: #fff; } }
"""

SCRIPT = """
"use strict";
const form = document.querySelector(".controls");
if (form) {
  const filter = () => {
    const wanted = form.elements["class"].value, verdict = form.elements["verdict"].value;
    let shown = 0, all = 0;
    for (const section of document.querySelectorAll("section")) {
      let inside = 0;
      for (const card of section.querySelectorAll("article")) {
        const strange = wanted && !JSON.parse(card.dataset.classes).includes(wanted);
        card.hidden = strange || (verdict && card.dataset.verdict !== verdict);
        inside += !card.hidden;
        all += 1;
      }
      section.hidden = !inside;
      shown += inside;
    }
    const total = all === 1 ? "1 image" : `${all} images`;
    form.querySelector("output").value = shown === all ? total : `${shown} of ${total}`;
  };
  form.addEventListener("change", filter);
  form.elements["heat"].addEventListener("input", (event) =>
    document.documentElement.style.setProperty("--heat", event.target.value / 100));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}
"""
