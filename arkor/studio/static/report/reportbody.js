// A report: the verdict, the scores, the rows, and what else was found.

import { rowLink } from "../data/address.js";
import { h, setText } from "../dom.js";
import { capital, time } from "../format.js";
import { createCases } from "./cases.js";
import { createConfusion } from "./confusion.js";
import { askedWords, kindOf, mainComparison } from "./figures.js";
import { createScores } from "./scores.js";

const MOST_NAMED = 10; // of the rows that were left out

/** The report as elements; `save()` saves it as a page, and throws where that fails. */
export function createReportBody(report, jobId, save) {
  const { rows, retention } = report;
  const candidates = report.candidates ?? [];
  const against = report.against || candidates[0];
  const ordered = [against, ...candidates.filter((name) => name !== against)];
  const scores = report.scores ?? [];
  const table = report.table ?? [];
  return [
    verdictPanel(report, jobId, save),
    scores.length > 0 && panel("scores", "Scores", createScores(scores, against, "The scores of all candidates")),
    Object.entries(report.details ?? {}).filter(([, found]) => found?.confusion).map(([name, { confusion }], at) =>
      panel(`details-${at}`, capital(name), h("p", { class: "quiet" }, "Each row is an expected label, each column an answer."),
        createConfusion(confusion))),
    retention && panel("retention", "Did it forget?", ...retentionParts(retention, against)),
    table.length > 0 && panel("rows", "Rows", createCases({ cases: table, scores, candidates: ordered, jobId: rows?.isHeldOut ? jobId : null })),
  ].flat();
}

function panel(name, title, ...content) {
  return h("section", { class: "panel", "aria-labelledby": `report-${name}` },
    h("div", { class: "panel-head" }, h("h2", { id: `report-${name}` }, title)), content);
}

function verdictPanel({ verdict, scores = [], rows, createdAt, model, maxTokens, answeredBy = [] }, jobId, save) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const button = h("button", { class: "button button-small", type: "button", onclick: keep }, "Save as HTML");
  async function keep() {
    problem.hidden = true;
    try {
      await save();
    } catch (error) {
      problem.hidden = false;
      setText(problem, `It could not be saved: ${error.message}`);
    }
  }
  const facts = [model, createdAt && time(createdAt), maxTokens && `answers of at most ${maxTokens} tokens`,
    answeredBy.length > 0 && `computed by ${answeredBy.join(", ")}`].filter(Boolean);
  return h("section", { class: "panel", "aria-labelledby": "report-verdict" },
    h("div", { class: "panel-head" }, h("h2", { id: "report-verdict" }, "Report"), button), problem,
    verdict && h("p", { class: `verdict verdict-${kindOf(mainComparison(scores))}` }, capital(verdict)),
    rows && h("p", null, askedWords(rows), "."),
    h("ul", { class: "receipt-warnings" }, rows && leftOut(rows, jobId)),
    h("p", { class: "quiet" }, facts.join(" · ")));
}

function leftOut({ leaked = [], sameQuestion = [], leftOut: others = [], isHeldOut }, jobId) {
  const shared = (found, what) => found.length > 0 && h("li", null, `${what}: row `,
    found.slice(0, MOST_NAMED).map(({ row, trainingRow }, at) => [at > 0 && ", ", isHeldOut ? rowLink(jobId, { row, isHeldOut }, row) : row,
      " (", rowLink(jobId, { row: trainingRow }, `row ${trainingRow}`), " of the training)"]), found.length > MOST_NAMED && ", …");
  return [
    shared(leaked, "Left out, because the job trained on them"),
    shared(sameQuestion, "Asked, though the job trained on the question with another answer"),
    others.slice(0, MOST_NAMED).map(({ row, reason }) => h("li", null, `Left out: row ${row} ${reason}`)),
  ];
}

function retentionParts({ verdict, scores = [], table = [] }, against) {
  const candidates = [against, ...new Set(scores.flatMap(({ comparisons = [] }) => comparisons.map(({ candidate }) => candidate)))];
  return [
    h("p", { class: "retention-verdict" }, capital(String(verdict ?? ""))),
    scores.length > 0 && createScores(scores, against, "The scores on general questions"),
    table.length > 0 && h("details", { class: "retention-rows" }, h("summary", null, "Questions and answers"),
      createCases({ cases: table, scores, candidates, jobId: null })),
  ];
}
