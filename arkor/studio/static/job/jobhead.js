// The top of a job's view: what it is, how it does, and what one can do about it.

import { rowsHref } from "../data/address.js";
import { confirm } from "../dialog.js";
import { h, replace, setAttribute, setText } from "../dom.js";
import { time } from "../format.js";
import { createMark, createStatus } from "../jobs/jobtable.js";
import { createPreparing } from "./preparing.js";
import { createReceipt } from "./receipt.js";
import { isOver, jobDuration, jobName, plannedSteps } from "../record.js";

const TICK_MS = 1000;

/** The head: `update(job)`, `reached(step)`, `started(metadata)`, `completed(metrics)`, `preparing(event)`, `left(artifacts)`, `close()`, `element`. `onCancelled(job)` is told. */
export function createHead({ api, about, announce }, jobId, onCancelled) {
  const title = h("h1", null, jobId);
  const status = createStatus();
  const mark = createMark();
  const error = h("p", { class: "problem job-error", tabindex: "0", hidden: true });
  const refused = h("p", { class: "problem", role: "alert", hidden: true });
  const rows = h("a", { class: "button", href: rowsHref(jobId), hidden: true }, "See its rows");
  const tryIt = h("a", { class: "button", hidden: true }, "Try it");
  const cancel = h("button", { class: "button", type: "button", hidden: true, onclick: askToCancel }, "Cancel");
  const facts = Object.fromEntries(["ID", "Created", "Duration", "Step", "Model", "Dataset", "Held-out rows"].map((name) => [name, h("b")]));
  const preparing = createPreparing();
  const outcome = h("p", { class: "job-outcome", hidden: true });
  const receipt = createReceipt(jobId);
  const settings = h("dl", { class: "facts settings-facts" });
  const more = h("details", { class: "settings", hidden: true }, h("summary", null, "Settings"), settings);
  const list = h("ul", { class: "job-facts", hidden: true },
    Object.entries(facts).map(([name, value]) => h("li", null, h("span", null, name), value)));
  const element = h("div", { class: "job-head" },
    h("div", { class: "view-head" }, title, mark.element, status.element, h("div", { class: "job-actions" }, rows, tryIt, cancel)),
    error, refused, preparing.element, outcome, list, receipt.element, more);
  let job = null;
  let step = null;
  let planned = null;
  let left = [];
  let cancelling = false;
  let settingsShown = "";
  status.element.hidden = true;

  function update(now) {
    job = now;
    const over = isOver(job);
    setText(title, jobName(job));
    status.element.hidden = list.hidden = rows.hidden = false;
    status.update(job.status);
    mark.update(job);
    error.hidden = !job.error;
    setText(error, String(job.error ?? ""));
    cancel.hidden = over;
    if (over) preparing.end();
    cancelling &&= !over;
    cancel.disabled = cancelling;
    setText(cancel, cancelling ? "Cancelling …" : "Cancel");
    drawFacts();
    drawSettings(job.config ?? {});
    offerToTry();
  }

  function drawFacts() {
    if (!job) return;
    const config = job.config ?? {};
    setText(facts.ID, job.id);
    facts.ID.className = "id";
    setText(facts.Created, time(job.createdAt));
    setText(facts.Duration, jobDuration(job));
    const reached = step ?? job.progress?.step ?? null;
    const last = planned ?? plannedSteps(job);
    setText(facts.Step, reached === null ? "–" : last ? `${reached} of ${last}` : `${reached}`);
    setText(facts.Model, String(config.model ?? "–"));
    setText(facts.Dataset, sourceOf(config.datasetSource) + (job.promptForm === "raw" ? ", as plain text" : ""));
    setText(facts["Held-out rows"], sourceOf(config.evalDatasetSource));
    facts["Held-out rows"].parentElement.hidden = !config.evalDatasetSource;
  }

  function drawSettings(config) {
    const key = JSON.stringify(config);
    if (key === settingsShown) return;
    settingsShown = key;
    const entries = Object.entries(config);
    more.hidden = entries.length === 0;
    replace(settings, entries.map(([name, value]) => [h("dt", null, name),
      h("dd", null, h("code", null, typeof value === "string" ? value : JSON.stringify(value)))]));
  }

  // The final adapter, or the last checkpoint where there is no final one.
  function offerToTry() {
    const adapters = left.filter(({ kind = "adapter" }) => kind === "adapter");
    const last = adapters.findLast(({ step: at }) => typeof at === "number");
    const isFinal = job?.status === "completed" || adapters.some(({ name }) => name === "adapter");
    tryIt.hidden = !job || (!isFinal && !last);
    if (tryIt.hidden) return;
    const query = new URLSearchParams({ job: job.id });
    if (!isFinal) query.set("step", last.step);
    const reason = about.lacks("inference");
    setAttribute(tryIt, "href", reason ? null : `#/playground?${query}`);
    setAttribute(tryIt, "aria-disabled", reason ? "true" : null);
    setAttribute(tryIt, "role", reason ? "link" : null);
    setAttribute(tryIt, "title", reason ?? (isFinal ? "Talk to what it trained" : `Talk to its checkpoint of step ${last.step}`));
  }

  async function askToCancel() {
    const text = [h("bdi", null, jobName(job)), " stops where it is. A job that was stopped cannot go on."];
    if (!await confirm({ title: "Cancel this job?", text, yes: "Cancel the job" })) return;
    cancelling = true;
    refused.hidden = true;
    update(job);
    try {
      const answer = await api.post(`/api/jobs/${encodeURIComponent(jobId)}/cancel`);
      announce("The job has been told to stop.");
      onCancelled(answer.job ?? null);
    } catch (problem) {
      cancelling = false;
      refused.hidden = false;
      setText(refused, `The job was not cancelled: ${problem.message}`);
      update(job);
      onCancelled(null);
    }
  }

  const leaveAbout = about.subscribe(offerToTry);
  const clock = setInterval(() => document.hidden || drawFacts(), TICK_MS);
  return {
    element,
    update,
    reached(now) {
      step = now;
    },
    started(metadata) {
      planned = typeof metadata?.maxSteps === "number" ? metadata.maxSteps : null;
      receipt.update(metadata?.receipt, metadata?.advice);
    },
    completed(metrics) {
      const notes = notesOf(metrics ?? {});
      outcome.hidden = notes.length === 0;
      setText(outcome, notes.join(" "));
    },
    preparing: preparing.take,
    left(artifacts) {
      left = artifacts;
      offerToTry();
    },
    close() {
      clearInterval(clock);
      leaveAbout();
    },
  };
}

// The words are those of the command line (arkor/protocol/events.py).
function notesOf({ bestStep, bestEvalLoss, endReason }) {
  const figure = typeof bestEvalLoss === "number" ? ` (eval loss ${bestEvalLoss.toFixed(4)})` : "";
  return [
    ...(typeof bestStep === "number" ? [`The adapter is that of step ${bestStep}, the best evaluation${figure}.`] : []),
    ...(endReason === "early_stopping" ? ["The training stopped early: no better evaluation came."] : []),
  ];
}

function sourceOf(source) {
  if (!source) return "–";
  if (source.type === "huggingface") return [source.name, source.subset, source.split].filter(Boolean).join(", ");
  if (source.type === "blob") return String(source.url);
  if (source.type === "dataset") return `uploaded, ${String(source.id).slice(0, 12)}`;
  return String(source.type ?? "–");
}
