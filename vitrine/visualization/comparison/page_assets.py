"""Style sheet and script of the comparison's page, beside those of the report."""

STYLE = """
.wide { overflow-x: auto; margin-bottom: 18px; background: var(--sheet); border: 1px solid var(--line); border-radius: 12px;
  padding: 10px 16px; }
.lead b, td b { font-weight: 700; }
.notes { max-width: 90ch; margin: 0 0 22px; padding: 10px 14px 10px 32px; border-left: 4px solid var(--accent);
  background: var(--sheet); }
.values { width: 100%; font-variant-numeric: tabular-nums; }
.values th, .values td { padding: 6px 12px 6px 0; white-space: nowrap; }
.values td, .values thead th { text-align: right; }
.values th:first-child, .values td.text { text-align: left; }
.values thead th, .values thead td { border-top: 0; vertical-align: bottom; }
.values tbody th { position: sticky; left: 0; background: var(--sheet); color: var(--ink); padding-right: 24px; }
.values .group th { padding-bottom: 0; font-size: .8rem; text-align: left; }
.values small { display: block; color: var(--soft); }
.values button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
.values button:hover, .values button:focus-visible { color: var(--ink); text-decoration: underline; }
[aria-sort=ascending] button::after { content: " ▲"; font-size: .7em; }
[aria-sort=descending] button::after { content: " ▼"; font-size: .7em; }
td.best { color: var(--right); font-weight: 700; }
td.best small, td.apart small { font-weight: 400; }
td.apart { color: var(--ink); font-weight: 600; }
td.chance { color: var(--soft); }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); gap: 18px; }
.curve { padding: 12px 16px; background: var(--sheet); border: 1px solid var(--line); border-radius: 12px; }
.curve figcaption b { font-size: .95rem; font-weight: 600; }
.curve svg { display: block; width: 100%; height: auto; font-size: 12px; }
.curve text { fill: var(--soft); }
.curve path { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.curve path:hover { stroke-width: 4; }
.curve .rule { stroke: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 0; padding: 0; list-style: none; font-size: .85rem; }
.legend svg { display: inline-block; width: 26px; margin-right: 6px; vertical-align: middle; }
.examples th, .examples td { padding: 4px; border: 0; min-width: 96px; font-size: .8rem; overflow-wrap: anywhere; }
.examples tbody th { color: var(--ink); vertical-align: middle; white-space: nowrap; padding-right: 12px; }
.examples .frame { background-size: cover; background-position: center; }
.examples .frame .heat { width: 100%; height: 100%; }
.examples small { color: var(--soft); }
details { margin-bottom: 10px; }
summary { cursor: pointer; }
"""

SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const button of table.querySelectorAll("thead button")) {
    const head = button.closest("th");
    button.addEventListener("click", () => {
      const column = Number(button.dataset.column), text = button.dataset.first === "text";
      const now = head.getAttribute("aria-sort");
      const first = button.dataset.first === "descending" ? "descending" : "ascending";
      const order = now === null ? first : now === "ascending" ? "descending" : "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (text ? x.localeCompare(y, undefined, {numeric: true}) : Number(x) - Number(y));
      };
      body.append(...[...body.rows].sort(compare));
    });
  }
}
"""
