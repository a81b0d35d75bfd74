// The scores of a report as a table, with the interval of each difference as a bar.

import { h, svg } from "../dom.js";
import { capital, figure } from "../format.js";
import { interval, kindOf, percent, points } from "./figures.js";

const BAR = 160; // units of the drawing: from -100 to +100 points
const HEIGHT = 12;

/** The table; `against` is the candidate that the others are compared with. */
export function createScores(scores, against, caption) {
  const rows = scores.flatMap((score) => (score.comparisons ?? []).map((one) => ({ score, one })));
  const candidates = new Set(rows.map(({ one }) => one.candidate));
  const single = candidates.size === 1 ? [...candidates][0] : null;
  const columns = ["Score", ...(single === null ? ["Candidate"] : []), against, single ?? "Its score", "Difference", "Rows", "Verdict"];
  return h("table", { class: "table scores", role: "table" },
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((name) => h("th", { scope: "col", role: "columnheader" }, name)))),
    h("tbody", { role: "rowgroup" }, rows.map(({ score, one }) => rowOf(score, one, columns, against, single === null))));
}

function rowOf(score, one, columns, against, isNamed) {
  const cells = [
    ...(isNamed ? [one.candidate] : []),
    percent(score.values?.[against]),
    percent(score.values?.[one.candidate]),
    [h("span", { class: "difference" }, h("b", null, points(one.difference)), ` (${interval(one)})`), drawing(one)],
    `${figure(one.wins ?? 0)} better, ${figure(one.losses ?? 0)} worse, ${figure(one.ties ?? 0)} alike`,
    h("span", { class: `mark ${MARKS[kindOf(one)]}` }, one.verdict),
  ];
  return h("tr", { role: "row" },
    h("th", { scope: "row", role: "rowheader", "data-label": columns[0] }, capital(String(score.label || score.name || "–"))),
    cells.map((content, at) => h("td", { role: "cell", "data-label": columns[at + 1], class: "figure" }, content)));
}

const MARKS = { better: "mark-good", worse: "mark-bad", same: "mark-same" };

function drawing(one) {
  const { low, high, difference } = one;
  const at = (share) => (BAR / 2) * (1 + Math.min(1, Math.max(-1, Number(share) || 0)));
  const middle = HEIGHT / 2;
  return svg("svg", { class: `interval interval-${kindOf(one)}`,
    viewBox: `0 0 ${BAR} ${HEIGHT}`, width: BAR, height: HEIGHT, "aria-hidden": "true" },
  svg("line", { class: "interval-scale", x1: 0, y1: middle, x2: BAR, y2: middle }),
  svg("line", { class: "interval-zero", x1: BAR / 2, y1: 0, x2: BAR / 2, y2: HEIGHT }),
  svg("line", { class: "interval-range", x1: at(low), y1: middle, x2: at(high), y2: middle }),
  svg("circle", { class: "interval-point", cx: at(difference), cy: middle, r: 3.5 }));
}
