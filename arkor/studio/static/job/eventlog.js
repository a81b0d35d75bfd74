// The last events of a job, one a line, as text. It stays at its end unless somebody scrolled up to read.

import { h } from "../dom.js";

const MOST_LINES = 500;
const LONGEST_LINE = 4000;
const NEAR_PX = 12;
const LABELS = {
  "training.started": "started", "checkpoint.saved": "checkpoint", "training.completed": "completed",
  "training.failed": "failed", "training.cancelled": "cancelled",
};

/** What the log says of an event. */
export function lineOf({ type, id: _, ...data }) {
  if (type === "training.log") return logged(data);
  return cut(`[${LABELS[type] ?? type}] ${JSON.stringify({ type, ...data })}`);
}

function logged({ step, loss, evalLoss }) {
  const evaluated = typeof evalLoss === "number";
  const figures = [`step=${step}`];
  if (typeof loss === "number" || !evaluated) figures.push(`loss=${loss ?? "NaN"}`);
  if (evaluated) figures.push(`evalLoss=${evalLoss}`);
  return cut(`[log] ${figures.join(" ")}`);
}

function cut(line) {
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)} …` : line;
}

/** The log: `add(line)`, `clear()`, `close()`, `element`. */
export function createEventLog() {
  const box = h("pre", { class: "log", role: "log", "aria-live": "off", "aria-label": "Event log", tabindex: "0" });
  const placeholder = h("p", { class: "log-empty" }, "No events yet.");
  const jump = h("button", { class: "button button-small log-jump", type: "button", hidden: true, onclick: toEnd },
    "Jump to the end");
  const element = h("div", { class: "log-frame" }, box, placeholder, jump);
  let waiting = [];
  let following = true;
  let frame = null;

  box.addEventListener("scroll", () => {
    following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    jump.hidden = following;
  }, { passive: true });
  const sizes = new ResizeObserver(() => following && toEnd());
  sizes.observe(box);

  function add(line) {
    waiting.push(line);
    if (waiting.length > 2 * MOST_LINES) waiting = waiting.slice(-MOST_LINES);
    frame ??= requestAnimationFrame(draw);
  }

  function draw() {
    frame = null;
    // A line feed inside an event would look like a line of its own.
    box.append(...waiting.slice(-MOST_LINES).map((line) => h("span", { class: kindOf(line) }, `${line.replace(/[\r\n]+/g, " ")}\n`)));
    waiting = [];
    while (box.childNodes.length > MOST_LINES) box.firstChild.remove();
    placeholder.hidden = box.childNodes.length > 0;
    if (following) toEnd();
  }

  function toEnd() {
    box.scrollTop = box.scrollHeight;
    following = true;
    jump.hidden = true;
  }

  function clear() {
    waiting = [];
    box.replaceChildren();
    frame ??= requestAnimationFrame(draw);
  }

  function close() {
    cancelAnimationFrame(frame);
    sizes.disconnect();
  }

  return { element, add, clear, close };
}

function kindOf(line) {
  return `line line-${/^\[([a-z ]+)\]/.exec(line)?.[1].replace(" ", "-") ?? "other"}`;
}
