// Which label is taken for which, as a table of each candidate.

import { h } from "../dom.js";
import { visible } from "../data/rowtext.js";

/** The tables of all candidates; `confusion` is of a report's details. */
export function createConfusion(confusion) {
  const chosen = "adapter" in confusion ? "adapter" : Object.keys(confusion).at(-1);
  return Object.entries(confusion).map(([candidate, rows]) => h("details", { class: "confusion", open: candidate === chosen },
    h("summary", null, candidate),
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Labels of ${candidate}` }, tableOf(candidate, rows))));
}

function tableOf(candidate, rows) {
  const expected = Object.keys(rows);
  const answered = [...new Set([...expected, ...Object.values(rows).flatMap((row) => Object.keys(row))])];
  return h("table", { class: "confusion-table" },
    h("caption", { class: "visually-hidden" }, `How often ${candidate} answered each label, by the expected one`),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Expected"), answered.map((label) => h("th", { scope: "col" }, visible(label))))),
    h("tbody", null, expected.map((label) => h("tr", null, h("th", { scope: "row" }, visible(label)),
      answered.map((other) => cell(rows[label][other] ?? 0, label === other))))));
}

function cell(count, isRight) {
  return h("td", { class: count === 0 ? "figure quiet" : isRight ? "figure right" : "figure wrong" }, count);
}
