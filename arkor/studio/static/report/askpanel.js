// Asking for an evaluation, and how far it is.

import { createAction } from "../action.js";
import { h, replace, setText } from "../dom.js";
import { field } from "../field.js";
import { many } from "../format.js";
import { isActive } from "../job/work.js";
import { isOver } from "../record.js";

const DEFAULT_LIMIT = 50;
const MOST_ROWS = 1000;
const WHAT = "The base model and the adapter answer the held-out rows, and a report says whether the adapter is better.";

/** The panel: `update(evaluation, job)` with the newest one that asks something, or none; `refocus()`, `close()`, `element`. */
export function createAskPanel({ about, announce }, evaluations) {
  const title = h("h2", { id: "ask-title" }, "Evaluation");
  const said = h("p");
  const bar = h("progress", { "aria-label": "Answers" });
  const cancel = h("button", { class: "button", type: "button", onclick: end }, "Cancel");
  const progress = h("div", { class: "evaluation-progress", hidden: true }, bar, cancel);
  const limit = h("input", { class: "field", id: "evaluation-limit", type: "number", min: "1", max: String(MOST_ROWS), step: "1",
    required: true, value: String(DEFAULT_LIMIT) });
  const start = h("button", { class: "button button-primary", type: "submit", "aria-describedby": "evaluation-reason" }, "Evaluate");
  const reason = h("p", { class: "quiet", id: "evaluation-reason" });
  const form = h("form", { class: "evaluation-form", onsubmit: ask }, field("Rows at most", limit), start, reason);
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const element = h("section", { class: "panel evaluation", "aria-labelledby": "ask-title" },
    h("div", { class: "panel-head" }, title), said, progress, form, problem);
  const action = createAction({ announce, problem, buttons: [cancel, start], draw });
  let newest = null;
  let job = null;

  function update(now, itsJob) {
    newest = now;
    job = itsJob;
    draw();
  }

  function draw() {
    const isUnderWay = Boolean(newest && isActive(newest));
    setText(title, newest?.status === "completed" ? "Evaluate again" : "Evaluation");
    replaceText(said, sentences());
    said.className = newest?.status === "failed" ? "problem" : "";
    progress.hidden = !isUnderWay;
    form.hidden = isUnderWay;
    cancel.disabled = action.isBusy;
    if (isUnderWay) drawBar();
    const why = whyNot();
    start.disabled = action.isBusy || !job || why !== "";
    limit.disabled = why !== "";
    setText(start, newest && newest.status !== "completed" && !isUnderWay ? "Evaluate again" : "Evaluate");
    setText(reason, why);
  }

  function sentences() {
    if (!newest) return WHAT;
    const why = newest.error ? `: ${newest.error}` : ".";
    switch (newest.status) {
      case "queued": return job && !isOver(job) ? "It begins when the job has completed." : "It waits for its turn.";
      case "running": return newest.total > 0 ? `${newest.done} of ${many(newest.total, "answer")}` : "It prepares the rows …";
      case "failed": return `The evaluation failed${why}`;
      case "cancelled": return `The evaluation was cancelled${why}`;
      default: return "";
    }
  }

  function drawBar() {
    if (newest.status === "running" && newest.total > 0) bar.value = Math.min(1, newest.done / newest.total);
    else bar.removeAttribute("value");
  }

  function whyNot() {
    const lacking = about.lacks("evaluations");
    if (lacking) return lacking;
    if (!job || job.status === "completed") return "";
    if (!isOver(job)) return "The job has not completed yet.";
    return `The job ${job.status === "failed" ? "failed" : "was cancelled"}, so it has no adapter to evaluate.`;
  }

  function ask(event) {
    event.preventDefault();
    action.run(() => evaluations.ask({ limit: Number(limit.value) }), "The evaluation waits for its turn.");
  }

  function end() {
    action.run(() => evaluations.cancel(newest.id), "The evaluation has been told to stop.");
  }

  const leaveAbout = about.subscribe(draw);
  return { element, update, refocus: action.refocus, close: leaveAbout };
}

function replaceText(element, text) {
  element.hidden = text === "";
  if (element.textContent !== text) replace(element, text);
}
