// The tab of a job's exports: asking for one, how far it is, and those that there are.

import { createAction } from "../action.js";
import { createDownload } from "../job/download.js";
import { h, replace, setText } from "../dom.js";
import { field } from "../field.js";
import { createFreshness } from "../freshness.js";
import { isActive } from "../job/work.js";
import { isOver } from "../record.js";

const FORMATS = {
  merged: "merged: a whole model of transformers and vLLM",
  adapter: "adapter: for PEFT, beside the base model",
  vllm: "vllm: an adapter for vLLM",
  gguf: "gguf: a whole model of llama.cpp",
  ollama: "ollama: the same, with a Modelfile",
};
const QUANTIZATIONS = {
  bf16: "bf16: nothing is lost", f16: "f16", q8_0: "q8_0: half the size", q6_k: "q6_k", q5_k_m: "q5_k_m", q4_k_m: "q4_k_m",
  q4_0: "q4_0",
};
const WHAT = "The backend makes a folder that other programs load, and compares it with what chats get.";
const STEPS = ["It makes the files …", "It compares them with what chats get …", "It packs them …"];

/** The tab: `show(isShown)`, `jobIs(job)`, `close()`, `element`. `onMade` is told when an export that was under way is there. */
export function createExport(context, jobId, exports, onMade) {
  const { about, announce } = context;
  const stale = createFreshness("the exports");
  const said = h("p");
  const bar = h("progress", { "aria-label": "Parts of the export", max: String(STEPS.length) });
  const cancel = h("button", { class: "button", type: "button", onclick: end }, "Cancel");
  const progress = h("div", { class: "evaluation-progress", hidden: true }, bar, cancel);
  const format = select("export-format", FORMATS);
  const quantization = select("export-quantization", QUANTIZATIONS);
  const number = field("Number type", quantization);
  const check = h("input", { type: "checkbox", id: "export-check", checked: true });
  const start = h("button", { class: "button button-primary", type: "submit", "aria-describedby": "export-reason" },
    "Make the export");
  const reason = h("p", { class: "quiet", id: "export-reason" });
  const form = h("form", { class: "evaluation-form", onsubmit: ask }, field("Format", format), number,
    h("label", { class: "export-check" }, check, "Compare it with chats"), start, reason);
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const list = h("ul", { class: "export-list" });
  const made = h("section", { class: "panel", "aria-labelledby": "exports-title", hidden: true },
    h("div", { class: "panel-head" }, h("h2", { id: "exports-title" }, "Exports")), list);
  const element = h("div", { class: "report" }, stale.element,
    h("section", { class: "panel evaluation", "aria-labelledby": "export-title" },
      h("div", { class: "panel-head" }, h("h2", { id: "export-title" }, "Export")), said, progress, form, problem), made);
  const action = createAction({ announce, problem, buttons: [cancel, start], draw });
  const download = createDownload(context, jobId, problem);
  let work = [];
  let job = null;
  let awaited = null; // the export that was under way when somebody looked
  let shown = "";

  format.addEventListener("change", draw);
  exports.subscribe((state) => {
    stale.update(state);
    work = state.work;
    draw();
    tell();
  });

  function draw() {
    const active = work.findLast(isActive);
    setText(said, active ? sentence(active) : WHAT);
    progress.hidden = !active;
    form.hidden = Boolean(active);
    cancel.disabled = action.isBusy;
    if (active?.status === "running") bar.value = active.done ?? 0;
    else bar.removeAttribute("value");
    number.hidden = !isGguf();
    const why = whyNot();
    start.disabled = action.isBusy || !job || why !== "";
    for (const control of [format, quantization, check]) control.disabled = why !== "";
    setText(reason, why);
    drawList();
  }

  function sentence({ status, done }) {
    if (status === "running") return STEPS[Math.min(done ?? 0, STEPS.length - 1)];
    return job && !isOver(job) ? "It begins when the job has completed." : "It waits for its turn.";
  }

  function drawList() {
    const ended = work.filter((one) => !isActive(one)).reverse();
    const key = JSON.stringify(ended);
    made.hidden = ended.length === 0;
    if (key !== shown) replace(list, ended.map(item)); // the same list is left alone, and with it the focus
    shown = key;
  }

  function item({ options = {}, status, verdict, error, artifact }) {
    const which = [options.to, options.quantization, options.dtype, options.step && `step ${options.step}`].filter(Boolean);
    return h("li", null,
      h("div", { class: "export-head" }, h("h3", null, which.join(", ")),
        artifact && h("button", { class: "button button-small", type: "button", "aria-label": `Download ${artifact}`,
          onclick: (event) => download(artifact, event.currentTarget) }, "Download")),
      status === "completed" ? h("p", null, verdict ? `It ${verdict}.` : "It was not compared.")
        : h("p", { class: status === "failed" ? "problem" : "quiet" },
          `The export ${status === "failed" ? "failed" : "was cancelled"}${error ? `: ${error}` : "."}`));
  }

  function tell() {
    const newest = work.at(-1);
    if (!newest) return;
    if (isActive(newest)) awaited = newest.id;
    else if (awaited === newest.id) {
      awaited = null;
      if (newest.status === "completed") onMade();
      announce(newest.status === "completed" ? "The export is there." : `The export is ${newest.status}.`);
    }
  }

  function isGguf() {
    return format.value === "gguf" || format.value === "ollama";
  }

  function whyNot() {
    const lacking = about.lacks("exports");
    if (lacking) return lacking;
    if (!job || job.status === "completed") return "";
    if (!isOver(job)) return "The job has not completed yet.";
    return `The job ${job.status === "failed" ? "failed" : "was cancelled"}, so it has no adapter to export.`;
  }

  function ask(event) {
    event.preventDefault();
    const options = { to: format.value, ...(isGguf() ? { quantization: quantization.value } : {}), check: check.checked };
    action.run(() => exports.ask(options), "The export waits for its turn.");
  }

  function end() {
    action.run(() => exports.cancel(work.findLast(isActive)?.id), "The export has been told to stop.");
  }

  return {
    element,
    show(now) {
      if (now) exports.refresh();
    },
    jobIs(now) {
      job = now;
      draw();
    },
    close: about.subscribe(draw),
  };
}

function select(id, choices) {
  return h("select", { class: "field", id }, Object.entries(choices).map(([value, label]) => h("option", { value }, label)));
}
