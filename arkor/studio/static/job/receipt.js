// What became of a job's rows, as the receipt of its training.started says. The words are those of the command line
// (arkor/protocol/receipt.py); a test compares them.

import { rowLink } from "../data/address.js";
import { h, replace, setText } from "../dom.js";
import { figure, many } from "../format.js";

const MOST_NUMBERS = 20; // of the rows to train on, and of the held-out rows
const COUNTS = [
  ["specialText", "with a special token in the text: escape_special_tokens=True keeps it text"],
  ["dropped", "dropped: nothing in them can be learnt within max_length"],
  ["truncated", "cut to max_length"],
  ["withoutEnd", "without a learnt end: the model does not learn there to stop"],
  ["duplicates", "with the messages of an earlier row"],
  ["heldOutDuplicates", "held out and trained on alike: their loss says nothing about new rows"],
];

/**
 * The receipt of a job's rows: `update(receipt, advice)`, `element`. It is hidden until there is one; a job of an old backend has
 * none. The numbers of rows lead to these rows; without a job's id, to those of the trainer that a run would start.
 */
export function createReceipt(jobId) {
  const line = h("p");
  const warnings = h("ul", { class: "receipt-warnings warning" });
  const element = h("div", { class: "receipt", hidden: true }, h("span", { class: "receipt-label" }, "Rows"), line, warnings);

  function update(receipt, advice) {
    if (!isObject(receipt)) return;
    element.hidden = false;
    setText(line, lineOf(receipt));
    const found = warningsOf(receipt, (row, isHeldOut) => rowLink(jobId, { row, isHeldOut }, row));
    const advised = Array.isArray(advice) ? advice.filter((text) => typeof text === "string") : [];
    warnings.hidden = found.length + advised.length === 0;
    replace(warnings, found.map((warning) => h("li", null, "Warning: ", warning)), advised.map((text) => h("li", null, `Advice: ${text}`)));
  }

  return { element, update };
}

function lineOf(receipt) {
  const [rows, heldOut, answers, tokens, counted, longest] =
    ["rows", "heldOutRows", "answers", "tokens", "countedTokens", "maxLength"].map((name) => whole(receipt[name]));
  const reason = receipt.maxLengthReason ? ` (${receipt.maxLengthReason})` : "";
  return `${many(rows, "row")} to train on${heldOut ? `, ${figure(heldOut)} held out` : ""}: ${many(answers, "answer")}, `
    + `${many(tokens, "token")} of which ${figure(counted)} count; max_length ${figure(longest)}${reason}`;
}

// Each warning is a list of texts and links.
function warningsOf(receipt, link) {
  const [leftOut, unseen] = [receipt.leftOut, receipt.unseenKeys].map((found) => Object.entries(isObject(found) ? found : {}));
  const counted = [
    ...leftOut.map(([field, found]) => [found, `of which the chat template left out the ${field}`]),
    ...COUNTS.map(([name, what]) => [receipt[name], what]),
  ].filter(([found]) => whole(found?.count))
    .map(([found, what]) => [`${many(found.count, "row")} ${what} (`, numbers(found, link), ")"]);
  const columns = receipt.recognisedColumns;
  if (columns) counted.push([`columns are taken as follows: ${columns}. columns= changes that`]);
  return unseen.length ? [...counted, [`the model does not see ${keys(unseen, whole(receipt.moreUnseenKeys))}`]] : counted;
}

function keys(unseen, others) {
  const shown = unseen.map(([name, found]) => `${name} (${many(whole(found?.count), "row")})`).join(", ");
  return others ? `${shown} and ${many(others, "further key")}` : shown;
}

// Rows to train on come before held-out rows, whose numbers may count in another source.
function numbers({ count, rows, heldOut }, link) {
  const given = Array.isArray(rows) ? rows.filter(Number.isInteger) : [];
  const held = Math.min(whole(heldOut), count);
  const train = Math.max(0, given.length - Math.min(held, MOST_NUMBERS));
  const kinds = [[count - held, false, given.slice(0, train)], [held, true, given.slice(train)]].filter(([most]) => most);
  return kinds.map(([most, isHeldOut, shown], place) => [
    `${place > 0 ? "; " : ""}${isHeldOut ? "held-out row" : "row"}${most === 1 ? "" : "s"} `,
    [...shown.map((row) => link(row, isHeldOut)), ...(most > shown.length ? ["…"] : [])].map((part, at) => [at > 0 && ", ", part]),
  ]);
}

function whole(value) {
  return Number.isInteger(value) && value > 0 ? value : 0;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
