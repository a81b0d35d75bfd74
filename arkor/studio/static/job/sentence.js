// What an event says, in a sentence. The words are those of the command line (arkor/cli/display/run_progress.py and
// arkor/protocol/events.py); a test compares them.

import { METRICS } from "./metrics.js";

const PREPARING = { reading: "reading the rows", tokenizing: "tokenizing the rows" };
const DISK_FULL = "the disk is full"; // begins the reason of a pause that ends by itself
const LONGEST = 4000;
const LONGEST_SAMPLE = 200;

/** A sentence of an event; `total` is the number of steps, if its training.started says it. */
export function sentenceOf(event, total) {
  const say = SAY[event.type] ?? (({ type }) => String(type));
  return oneLine(say(event, total ?? 0), event.type === "sample.made" ? LONGEST_SAMPLE : LONGEST);
}

/** Sentences that say which adapter is the final one and why the training ended, where that is not usual. */
export function notesOf({ bestStep, endReason, ...metrics }) {
  const figures = METRICS.filter(({ name }) => name.startsWith("eval"))
    .map(({ name, label }) => [label, metrics[`best${name[0].toUpperCase()}${name.slice(1)}`]])
    .filter(([, value]) => typeof value === "number")
    .map(([label, value]) => `${label} ${value.toFixed(4)}`);
  const figure = figures.length ? ` (${figures.join(", ")})` : "";
  return [
    ...(typeof bestStep === "number" ? [`The adapter is that of step ${bestStep}, the best evaluation${figure}.`] : []),
    ...(endReason === "early_stopping" ? ["The training stopped early: no better evaluation came."] : []),
  ];
}

/** Whether a paused job goes on by itself, for what reason it was paused. */
export function endsByItself(reason) {
  return String(reason ?? "").startsWith(DISK_FULL);
}

const SAY = {
  "training.preparing": ({ phase, done, total }) => {
    const share = total > 0 ? Math.round((100 * Math.min(done, total)) / total) : 0;
    return [PREPARING[phase] ?? (String(phase ?? "") || "preparing"), ...(share ? [`${share}%`] : [])].join("  ");
  },
  "training.started": () => "Training started",
  "training.log": ({ step, loss, evalLoss }, total) => {
    const figures = Object.entries({ loss, "eval loss": evalLoss }).filter(([, value]) => typeof value === "number");
    return [`step ${place(step, total)}`, ...figures.map(([name, value]) => `${name} ${value.toFixed(4)}`)].join("  ");
  },
  "checkpoint.saved": ({ step }, total) => `step ${place(step, total)}  checkpoint saved`,
  "sample.made": ({ step, sample, answer }) => `sample ${sample + 1} at step ${step}: ${answer}`,
  "training.interrupted": ({ reason, batchSize: size, gradientAccumulationSteps: count }) => {
    const isSmaller = Number.isInteger(size) && Number.isInteger(count);
    const smaller = isSmaller ? `, with batch_size=${size} and gradient_accumulation_steps=${count}` : "";
    return `Warning: ${reason ?? ""}: the job goes on by itself${smaller}.`;
  },
  "training.paused": ({ reason, step }) => {
    const rest = endsByItself(reason) ? "; it goes on by itself when there is room" : "";
    return `Paused${at(step)}${reason ? `: ${reason}` : ""}${rest}`;
  },
  "training.unpaused": () => "Unpaused",
  "training.completed": ({ metrics }) => ["Completed.", ...notesOf(metrics ?? {})].join(" "),
  "training.failed": ({ error, step }) => `Failed${at(step)}${error ? `: ${error}` : ""}`,
  "training.cancelled": ({ step }) => `Cancelled${at(step)}`,
};

function at(step) {
  return Number.isInteger(step) ? ` at step ${step}` : "";
}

function place(step, total) {
  return total >= Math.max(1, step) ? `${step}/${total}` : `${step}`;
}

// A line feed inside an event would look like a line of its own. Two blanks part the figures of a line.
function oneLine(text, longest) {
  const line = text.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ").trim();
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}
