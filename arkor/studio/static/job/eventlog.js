// The last events of a job, one a line, as text.

import { h } from "../dom.js";
import { capital } from "../format.js";
import { createTail } from "../tail.js";

const MOST_LINES = 500;
const LONGEST_LINE = 4000;
const LABELS = {
  "training.preparing": "preparing", "training.started": "started", "checkpoint.saved": "checkpoint", "training.completed": "completed",
  "training.failed": "failed", "training.cancelled": "cancelled",
};

/** What the log says of an event. */
export function lineOf({ type, id: _, ...data }) {
  if (type === "training.log") return cut(`[log] ${figuresOf(data)}`);
  if (type === "training.interrupted") return cut(`[interrupted] ${interruptionOf(data)}`);
  if (type === "training.paused") return cut(`[paused] ${data.reason ? `${capital(String(data.reason))}.` : "The job is paused."}`);
  if (type === "training.unpaused") return "[unpaused] The job is in the queue again.";
  return cut(`[${LABELS[type] ?? type}] ${JSON.stringify({ type, ...data })}`);
}

function figuresOf({ step, loss, evalLoss }) {
  const evaluated = typeof evalLoss === "number";
  const figures = [`step=${step}`];
  if (typeof loss === "number" || !evaluated) figures.push(`loss=${loss ?? "NaN"}`);
  if (evaluated) figures.push(`evalLoss=${evalLoss}`);
  return figures.join(" ");
}

// The words are those of the command line (arkor/protocol/events.py).
function interruptionOf({ reason, batchSize: size, gradientAccumulationSteps: count }) {
  const smaller = Number.isInteger(size) && Number.isInteger(count)
    ? `, with batch_size=${size} and gradient_accumulation_steps=${count}` : "";
  return `${reason ?? ""}: the job goes on by itself${smaller}.`;
}

function cut(line) {
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)} …` : line;
}

/** The log: `add(line)`, `clear()`, `close()`, `element`. */
export function createEventLog() {
  const { element, box, changed, close } = createTail({ label: "Event log", empty: "No events yet.", unknown: "Loading …", draw });
  let waiting = [];

  function add(line) {
    waiting.push(line);
    if (waiting.length > 2 * MOST_LINES) waiting = waiting.slice(-MOST_LINES);
    changed();
  }

  function draw() {
    // A line feed inside an event would look like a line of its own.
    box.append(...waiting.slice(-MOST_LINES).map((line) => h("span", { class: kindOf(line) }, `${line.replace(/[\r\n]+/g, " ")}\n`)));
    waiting = [];
    while (box.childNodes.length > MOST_LINES) box.firstChild.remove();
    return box.childNodes.length === 0;
  }

  function clear() {
    waiting = [];
    box.replaceChildren();
    changed();
  }

  return { element, add, clear, close };
}

function kindOf(line) {
  return `line line-${/^\[([a-z ]+)\]/.exec(line)?.[1].replace(" ", "-") ?? "other"}`;
}
