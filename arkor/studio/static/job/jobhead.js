// The top of a job's view: what it is, how it does, and what one can do about it.

import { createActions } from "./actions.js";
import { rowsHref } from "../data/address.js";
import { h, replace, setAttribute, setText } from "../dom.js";
import { time } from "../format.js";
import { createMark, createStatus, jobHref } from "../jobs/jobtable.js";
import { createPreparing } from "./preparing.js";
import { createReceipt } from "./receipt.js";
import { endsByItself, notesOf } from "./sentence.js";
import { createSettings } from "./settingslist.js";
import { isOver, jobDuration, jobName, plannedSteps } from "../record.js";

const TICK_MS = 1000;

/** The head: `update(job)`, `reached(step)`, `started(metadata)`, `completed(metrics)`, `preparing(event)`, `left(artifacts)`, `close()`, `element`, and `about`: what there is to say of it. `onAnswer` is that of `createActions`. */
export function createHead(context, jobId, onAnswer) {
  const title = h("h1", null, jobId);
  const status = createStatus();
  const mark = createMark();
  const error = h("p", { class: "problem job-error", tabindex: "0", hidden: true });
  const paused = h("p", { class: "job-paused", hidden: true });
  const origin = h("p", { class: "job-origin", hidden: true });
  const rows = h("a", { class: "button", href: rowsHref(jobId), hidden: true }, "See its rows");
  const tryIt = h("a", { class: "button", hidden: true }, "Try it");
  const actions = createActions(context, jobId, onAnswer);
  const facts = Object.fromEntries(["ID", "Created", "Duration", "Step", "Model", "Dataset", "Held-out rows"].map((name) => [name, h("b")]));
  const preparing = createPreparing();
  const outcome = h("p", { class: "job-outcome", hidden: true });
  const receipt = createReceipt(jobId);
  const settings = createSettings(context.about);
  const list = h("ul", { class: "job-facts", hidden: true },
    Object.entries(facts).map(([name, value]) => h("li", null, h("span", null, name), value)));
  const about = h("div", { class: "job-about" }, preparing.element, outcome, list, receipt.element, settings.element);
  const element = h("div", { class: "job-head" },
    h("div", { class: "view-head" }, title, mark.element, status.element, h("div", { class: "job-actions" }, rows, tryIt, actions.elements)),
    error, paused, actions.problem, origin);
  let job = null;
  let step = null;
  let planned = null;
  let left = [];
  status.element.hidden = true;

  function update(now) {
    job = now;
    setText(title, jobName(job));
    status.element.hidden = list.hidden = rows.hidden = false;
    status.update(job.status);
    mark.update(job);
    error.hidden = !job.error;
    setText(error, String(job.error ?? ""));
    paused.hidden = job.status !== "paused" || !job.pauseReason;
    setText(paused, `Paused: ${job.pauseReason}.${endsByItself(job.pauseReason) ? " It goes on by itself when there is room." : ""}`);
    if (isOver(job) || job.status === "paused") preparing.end();
    actions.update(job);
    drawOrigin();
    drawFacts();
    settings.update(job.config ?? {});
    offerToTry();
  }

  function drawOrigin() {
    const { jobId: from, step: at } = job.resumedFrom ?? {};
    if (!from || !origin.hidden) return; // it stays the same, and a link keeps the focus
    origin.hidden = false;
    replace(origin, `Resumed from step ${at} of job `, h("a", { class: "id", href: jobHref(from) }, from), ".");
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

  // The final adapter, or the last checkpoint where there is no final one.
  function offerToTry() {
    const adapters = left.filter(({ kind = "adapter" }) => kind === "adapter");
    const last = adapters.findLast(({ step: at }) => typeof at === "number");
    const isFinal = job?.status === "completed" || adapters.some(({ name }) => name === "adapter");
    tryIt.hidden = !job || (!isFinal && !last);
    if (tryIt.hidden) return;
    const query = new URLSearchParams({ job: job.id });
    if (!isFinal) query.set("step", last.step);
    const reason = context.about.lacks("inference");
    setAttribute(tryIt, "href", reason ? null : `#/playground?${query}`);
    setAttribute(tryIt, "aria-disabled", reason ? "true" : null);
    setAttribute(tryIt, "role", reason ? "link" : null);
    setAttribute(tryIt, "title", reason ?? (isFinal ? "Talk to what it trained" : `Talk to its checkpoint of step ${last.step}`));
  }

  const leaveAbout = context.about.subscribe(() => job && update(job));
  const clock = setInterval(() => document.hidden || drawFacts(), TICK_MS);
  return {
    element,
    about,
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
      actions.close();
    },
  };
}

function sourceOf(source) {
  if (!source) return "–";
  if (source.type === "huggingface") return [source.name, source.subset, source.split].filter(Boolean).join(", ");
  if (source.type === "blob") return String(source.url);
  if (source.type === "imported") return `none, imported from ${[source.name, String(source.revision ?? "").slice(0, 12)].filter(Boolean).join(", ")}`;
  if (source.type === "dataset") return `uploaded, ${String(source.id).slice(0, 12)}`;
  return String(source.type ?? "–");
}
