// The panel that starts the project's trainer and shows what it prints.

import { rowsHref } from "../data/address.js";
import { h, replace, setAttribute, setText } from "../dom.js";
import { jobHref } from "../jobs/jobtable.js";
import { createLogBox } from "./logbox.js";
import { followManifest } from "./manifest.js";
import { outcomeOf } from "./outcome.js";
import { followRun } from "./run.js";

const NO_TRAINER = "No trainer in src/arkor/index.py yet. Add create_trainer(...) and pass it to create_arkor.";

/** Mount the panel; returns what unmounts it. */
export function mountRunPanel(root, context) {
  const { api, jobs, announce } = context;
  let manifest = { trainer: null, error: null, loading: true, known: false };
  let run = { phase: "unknown" };
  let asking = false;
  let announced = "";
  let followed = null; // {id, view}: the job of the run, and its view once that is loaded
  let folded = null; // whether somebody folded the output, or unfolded it; null until then

  const button = h("button", { class: "button button-primary", type: "button", disabled: true, onclick: start });
  const dryRun = h("input", { type: "checkbox", id: "dry-run", class: "switch" });
  const rows = h("a", { class: "button", href: rowsHref(null), hidden: true }, "See its rows");
  const message = h("p", { class: "manifest" });
  const retry = h("button", { class: "button button-small", type: "button", onclick: () => reader.read() }, "Try again");
  const stopping = h("div", { class: "stop", hidden: true });
  const status = h("p", { class: "run-status", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const place = h("div", { hidden: true });
  const log = createLogBox({ label: "Output of the run", empty: "What the run prints appears here." });
  const fold = h("button", { class: "fold", type: "button", hidden: true, onclick() {
    folded = !log.element.hidden;
    drawFold();
  } }, "Output");
  root.append(
    h("div", { class: "panel-head" }, h("h2", null, "Run training")),
    h("div", { class: "run-controls" }, button,
      h("label", { class: "switch-label", for: "dry-run", title: "The whole path on a few rows: at most two steps." },
        dryRun, "Dry run"), rows, stopping),
    message, problem, status, place, fold, log.element,
  );

  const reader = followManifest(api, (now) => { manifest = now; draw(); });
  const runner = followRun(api, log, (now) => {
    const before = run;
    run = now;
    if (before.phase !== "starting" && now.phase === "starting") folded = null;
    draw();
    if (before.phase === "unknown") announced = now.phase; // of before this page was opened
    else if (before.phase !== now.phase || before.jobId !== now.jobId) jobs.refresh();
    tell();
  });
  const leaveJobs = jobs.subscribe(() => {
    drawStatus();
    drawJob();
    drawFold();
    tell();
  });

  function busy() {
    return asking || ["unknown", "starting", "running", "stopping"].includes(run.phase);
  }

  function draw() {
    const { trainer, error, known } = manifest;
    setText(button, trainer ? `Run training: ${trainer.name}` : "Run training");
    button.disabled = busy() || !trainer;
    rows.hidden = !trainer;
    dryRun.disabled = busy();
    drawMessage(!known ? "Reading src/arkor/index.py …" : error !== null ? `Couldn't read manifest: ${error}`
      : trainer ? "" : NO_TRAINER, error !== null);
    setText(problem, run.error ?? "");
    problem.hidden = !run.error;
    drawStop();
    drawStatus();
    drawJob();
    drawFold();
  }

  function drawJob() {
    if (run.jobId !== (followed?.id ?? null)) showJob(run.jobId);
    if (followed?.view && jobOf()) followed.view.update(jobOf());
  }

  // Home has to be there at once, and needs no chart before there is a run.
  async function showJob(id) {
    followed?.view?.close();
    place.hidden = true;
    replace(place);
    const mine = followed = id && { id, view: null };
    if (!id) return;
    const { createRunJob } = await import("./runjob.js");
    if (followed !== mine) return;
    mine.view = createRunJob(context, id);
    replace(place, mine.view.element);
    place.hidden = false;
    drawJob();
  }

  // The output is in the way of a job, unless it says why there is none, or what went wrong.
  function drawFold() {
    fold.hidden = !run.jobId;
    const isFolded = run.jobId ? folded ?? outcome()?.kind !== "bad" : false;
    setAttribute(fold, "aria-expanded", String(!isFolded));
    const hadFocus = log.element.contains(document.activeElement);
    log.element.hidden = isFolded;
    if (hadFocus && isFolded) fold.focus({ preventScroll: true });
    root.classList.toggle("has-job", Boolean(run.jobId));
  }

  function drawMessage(text, failed) {
    message.hidden = text === "";
    message.classList.toggle("problem", failed);
    const shown = message.firstChild?.textContent ?? "";
    if (shown !== text || failed !== message.contains(retry)) replace(message, h("span", { tabindex: failed && "0" }, text), failed && retry);
    retry.disabled = manifest.loading;
  }

  function drawStop() {
    const phase = run.phase === "running" || run.phase === "stopping" ? run.phase : "";
    if (stopping.dataset.phase === phase) return;
    stopping.dataset.phase = phase;
    const hadFocus = stopping.contains(document.activeElement);
    stopping.hidden = !phase;
    if (phase === "running") offerStop();
    else replace(stopping, phase && h("button", { class: "button", type: "button", disabled: true }, "Stopping …"));
    if (hadFocus) (phase === "running" ? stopping.firstChild : log.element.hidden ? fold : log.box).focus();
  }

  // Stopping ends the job for good, so it takes two presses, the second on another button.
  function offerStop() {
    replace(stopping, h("button", { class: "button", type: "button", onclick: askToStop }, "Stop"));
  }

  function askToStop() {
    const keep = h("button", { class: "button", type: "button", onclick: () => {
      offerStop();
      stopping.firstChild.focus();
    } }, "Keep running");
    replace(stopping,
      h("span", { class: "stop-question", id: "stop-question" }, "Stop the run and cancel its job?"),
      h("button", { class: "button button-danger", type: "button", "aria-describedby": "stop-question",
        onclick: () => runner.stop() }, "Stop it"),
      keep);
    keep.focus();
  }

  function drawStatus() {
    const { kind, badge, text } = outcome() ?? {};
    const key = [run.dryRun, run.jobId, run.phase, kind, badge, text, run.interrupted, jobOf()?.status === "paused"].join("|");
    if (status.dataset.key === key) return;
    status.dataset.key = key;
    status.className = `run-status run-${run.phase}`;
    replace(status, statusText().map((part, index) => [index > 0 && " ", part]));
  }

  function statusText() {
    const what = run.dryRun ? "Dry run" : "Run";
    const job = run.jobId ? jobLink(run.jobId) : null;
    const cut = run.interrupted ? h("span", { class: "warning" }, "The log is cut off; connecting again …") : null;
    if (run.phase === "starting") return ["Starting …"];
    const paused = jobOf()?.status === "paused" ? "is paused." : null;
    if (run.phase === "running") return [`${what} under way.`, job ?? "Its job is not known yet.", paused, cut].filter(Boolean);
    if (run.phase === "stopping") return ["Stopping the run and cancelling its job …", job].filter(Boolean);
    if (run.phase !== "ended") return [];
    const { kind, badge, text } = outcome();
    return [h("span", { class: kind === "cancelled" ? "status status-cancelled" : `exit exit-${kind}` }, badge), text, job].filter(Boolean);
  }

  /** How the run has ended; null while it has not. */
  function outcome() {
    if (run.phase !== "ended") return null;
    const { data, error } = jobs.state;
    return outcomeOf(run, jobOf(), Boolean(run.jobId) && !error && (!data || jobs.state.loading));
  }

  /** The record of the run's job; null while it is not known. */
  function jobOf() {
    return jobs.state.data?.find(({ id }) => id === run.jobId) ?? null;
  }

  async function start() {
    if (busy()) return;
    const hadFocus = document.activeElement === button;
    asking = true;
    draw();
    const { trainer } = await reader.read();
    asking = false;
    if (trainer) {
      if (hadFocus) log.box.focus({ preventScroll: true });
      await runner.start(dryRun.checked);
    } else if (hadFocus) retry.isConnected ? retry.focus() : log.box.focus();
    draw();
  }

  // An end is said once it is clear which.
  function tell() {
    if (run.phase === announced || outcome()?.kind === "open") return;
    announced = run.phase;
    if (run.phase === "running") announce("The run has started.");
    else if (run.phase === "ended" && outcome().kind === "cancelled") announce(`The run was ${outcome().badge}.`);
    else if (run.phase === "ended") announce(`The run has ended with exit code ${run.exitCode}.`);
  }

  return () => {
    reader.close();
    runner.close();
    leaveJobs();
    followed?.view?.close();
    followed = null;
    log.close();
  };
}

function jobLink(id) {
  return h("span", null, "Job ", h("a", { class: "id", href: jobHref(id) }, id));
}
