// The samples of a job as a table: a row for each prompt, a column for each step at which it was asked.

import { rowLink } from "../data/address.js";
import { visible } from "../data/rowtext.js";
import { h, replace, setText } from "../dom.js";
import { capital, figure, many } from "../format.js";
import { createText } from "../report/messages.js";
import { changedRange, messagesOf, Samples, stepName } from "./model.js";

const FOLDED = { chars: 240, lines: 8 };
const NONE = "This job makes no samples. With sample_prompts=8 and save_steps, the model answers 8 held-out rows at each checkpoint.";
const GONE = "no checkpoint";
const NONE_YET = "No samples yet: the first ones come before the first step.";

/**
 * The table: `jobIs(job)`, `add(event)` for each sample, `left(artifacts)`, `completed(metrics)`, `show(isShown)`,
 * `close()`, `element`.
 */
export function createSamples({ api, about }, jobId) {
  const path = `/api/jobs/${encodeURIComponent(jobId)}/samples`;
  const samples = new Samples();
  const cells = new Map(); // elements that stay as long as they say the same
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const note = h("p", { class: "quiet samples-note" });
  const head = h("tr", { role: "row" });
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { class: "samples-table", role: "table" },
    h("caption", { class: "visually-hidden" }, "The answers to each prompt, by step"), h("thead", { role: "rowgroup" }, head), body);
  const scroller = h("div", { class: "samples-scroll", role: "region", "aria-label": "Table of samples", tabindex: "0", hidden: true }, table);
  const element = h("section", { class: "panel samples", "aria-labelledby": "samples-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "samples-title" }, "Samples")), problem, note, scroller);
  let job = null;
  let saved = null; // the steps that have a checkpoint; null while that is not known
  let metrics = null; // of the completed job
  let isShown = false;
  let isAsked = false;
  let frame = null;

  async function ask() {
    isAsked = true;
    problem.hidden = true;
    try {
      samples.merge(await api.get(path));
    } catch (error) {
      problem.hidden = false;
      replace(problem, `The samples cannot be loaded: ${error.message} `,
        h("button", { class: "button button-small", type: "button", onclick: ask }, "Try again"));
    }
    changed();
  }

  function changed() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      if (isShown) draw();
    });
  }

  function draw() {
    const { prompts, steps, leftOutSteps } = samples;
    const leftOut = leftOutSteps ? ` ${capital(many(leftOutSteps, "earlier step"))} left out: result.samples() has all of them.` : "";
    setText(note, samples.isEmpty ? about.lacks("samples") ?? (asks() ? NONE_YET : NONE)
      : `${prompts.some(isAnswered) ? "✓: the answer equals the expected one. " : ""}Underlined: the words that differ from the step before. `
        + `An answer leads to the Playground.${leftOut}`);
    scroller.hidden = samples.isEmpty;
    const focused = document.activeElement;
    const isAtEnd = scroller.scrollLeft + scroller.clientWidth > scroller.scrollWidth - 4;
    replace(head, h("th", { scope: "col", role: "columnheader" }, "Prompt"), steps.map(columnHead));
    replace(body, prompts.map((prompt) => h("tr", { role: "row" },
      kept(`${prompt.sample}`, [prompt], () => promptCell(prompt)),
      steps.map((step) => answerCell(step, prompt)))));
    if (element.contains(focused)) focused.focus({ preventScroll: true });
    if (isAtEnd) scroller.scrollLeft = scroller.scrollWidth; // the newest step
  }

  function asks() {
    return job?.config?.samplePrompts !== undefined;
  }

  function kept(key, says, make) {
    const now = JSON.stringify(says);
    if (cells.get(key)?.says !== now) cells.set(key, { says: now, cell: make() });
    return cells.get(key).cell;
  }

  function columnHead(step) {
    const exact = samples.exact(step);
    return h("th", { scope: "col", role: "columnheader" }, capital(nameOf(step)),
      exact && h("span", { class: "figure" }, `${figure(exact[0])} of ${figure(exact[1])} ✓`),
      targetOf(step) === null && h("div", { class: "quiet" }, GONE));
  }

  function promptCell({ sample, row, prompt, expected }) {
    const messages = messagesOf(prompt);
    const earlier = messages.slice(0, -1);
    const title = Number.isInteger(row) ? rowLink(jobId, { row, isHeldOut: true }, `Row ${figure(row)}, held out`) : `Prompt ${sample + 1}`;
    return h("th", { scope: "row", role: "rowheader" }, h("div", { class: "sample-title" }, title),
      earlier.length > 0 && h("details", { class: "sample-earlier" }, h("summary", null, many(earlier.length, "earlier message")),
        earlier.map(({ role, text }) => [h("span", { class: "quiet" }, role), createText(text, FOLDED)])),
      createText(messages.at(-1)?.text ?? "", FOLDED),
      isAnswered({ expected }) && h("div", { class: "sample-expected" }, h("span", { class: "quiet" }, "Expected"), createText(expected, FOLDED)));
  }

  function answerCell(step, { sample }) {
    const found = samples.answer(step, sample);
    const before = samples.before(step, sample);
    const href = hrefOf(step, sample);
    const label = capital(nameOf(step)) + (targetOf(step) === null ? `, ${GONE}` : "");
    return kept(`${step} ${sample}`, [found, before?.answer, href, label], () =>
      h("td", { role: "cell", "data-label": label, class: found && before?.answer === found.answer ? "is-unchanged" : null },
        found ? answerOf(found, before, href, nameOf(step)) : h("span", { class: "quiet" }, "not asked")));
  }

  function nameOf(step) {
    return stepName(step, Boolean(job?.config?.baseAdapter));
  }

  // Where a click leads: the checkpoint, or what stands for it. Null if it is gone.
  function hrefOf(step, sample) {
    const target = targetOf(step);
    if (!target || about.lacks("inference")) return null;
    return `#/playground?${new URLSearchParams({ ...target, of: jobId, sample })}`;
  }

  function targetOf(step) {
    const { baseAdapter, model } = job?.config ?? {};
    if (step === 0 && baseAdapter) return baseAdapter.kind === "checkpoint" ? { job: baseAdapter.jobId, step: baseAdapter.step } : { job: baseAdapter.jobId };
    if (step === 0) return model ? { model, ...(job.promptForm === "raw" ? { raw: "1" } : {}) } : null;
    if (saved === null || saved.has(step)) return { job: jobId, step };
    return metrics && step === (metrics.bestStep ?? metrics.steps ?? samples.steps.at(-1)) ? { job: jobId } : null;
  }

  const leaveAbout = about.subscribe(changed);
  return {
    element,
    close: leaveAbout,
    add(event) {
      samples.add(event);
      changed();
    },
    jobIs(now) {
      job = now;
      if (asks() && !isAsked) ask();
      changed();
    },
    left(artifacts) {
      saved = new Set(artifacts.map(({ step }) => step).filter(Number.isInteger));
      if (about.lacks("artifacts")) saved = null;
      changed();
    },
    completed(now) {
      metrics = now ?? {};
      changed();
    },
    show(now) {
      isShown = now;
      if (now && !isAsked) ask();
      changed();
    },
  };
}

function isAnswered({ expected }) {
  return typeof expected === "string";
}

function answerOf({ answer, isExact, isCut }, before, href, name) {
  const range = before && changedRange(visible(before.answer), visible(answer));
  const isChanged = before !== null && before.answer !== answer;
  const body = href ? h("a", { class: "said", href, title: `Ask the ${name} in the Playground` }) : h("div", { class: "said" });
  return [
    answer ? createText(answer, { ...FOLDED, body, parts: (text) => (isChanged ? marked(text, range, visible(answer).length) : text) })
      : replace(body, h("i", null, "no text")),
    h("div", { class: "sample-marks" },
      isExact && h("span", { class: "mark mark-good", role: "img", "aria-label": "equals the expected answer" }, "✓"),
      before && h("span", { class: isChanged ? "sample-changed" : "quiet" }, isChanged ? "changed" : "unchanged"),
      isCut && h("span", { class: "quiet" }, "cut at its longest length")),
  ];
}

// Where nothing stayed the same, there is nothing to tell apart.
function marked(text, [from, to], length) {
  if (from === 0 && to === length) return text;
  return [text.slice(0, from), h("ins", null, text.slice(from, to)), text.slice(to)];
}
