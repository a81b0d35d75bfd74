// A line that says whether chats get the adapter that was trained.

import { h, replace, setAttribute } from "../dom.js";
import { capital } from "../format.js";
import { isCheckOnly } from "./evaluations.js";
import { checkWords } from "./figures.js";

/** The line: `update(evaluations)`, the newest last; `element`. It is hidden while nothing is known. */
export function createServedLine() {
  const element = h("p", { hidden: true });
  let shown = "";

  function update(evaluations) {
    const { text, isWarning } = lineOf(evaluations.findLast(saysSomething));
    if (text === shown) return;
    shown = text;
    element.hidden = text === "";
    setAttribute(element, "class", isWarning ? "served served-warning" : "served quiet");
    replace(element, text);
  }

  return { element, update };
}

function saysSomething(evaluation) {
  return hasCheck(evaluation) || (isCheckOnly(evaluation) && ["running", "failed"].includes(evaluation.status));
}

function hasCheck({ check }) {
  return typeof check?.isSame === "boolean";
}

function lineOf(evaluation) {
  if (!evaluation) return { text: "", isWarning: false };
  if (hasCheck(evaluation)) {
    const { check } = evaluation;
    return { text: check.isSame ? capital(checkWords(check)) : `Warning: ${checkWords(check)}`, isWarning: !check.isSame };
  }
  if (evaluation.status === "running") return { text: "The backend checks whether chats get the trained adapter …", isWarning: false };
  const why = evaluation.error ? `: ${evaluation.error}` : ".";
  return { text: `Warning: whether chats get the trained adapter could not be checked${why}`, isWarning: true };
}
