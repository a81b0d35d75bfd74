// How far a training is: a bar, the last loss and the time left.

import { h, setText } from "../dom.js";
import { duration } from "../format.js";
import { plannedSteps } from "../record.js";

const PACE_LOGS = 20; // the pace is that of so many of the last log events, as on the command line
const ENDS_PACE = new Set(["training.started", "training.interrupted", "training.paused", "training.unpaused"]);

/** The bar: `take(event)` for each event of the job, `update(job)`, `element`. It is hidden until the training starts. */
export function createTrainingBar() {
  const bar = h("progress", { "aria-label": "Training", max: "1" });
  const text = h("p", { class: "figure" });
  const element = h("div", { class: "training-bar", hidden: true }, text, bar);
  let job = null;
  let started = null;
  let step = null;
  let loss = null;
  let evalLoss = null;
  let marks = [];

  function take(event) {
    if (event.type === "training.started") started = event.metadata;
    if (ENDS_PACE.has(event.type)) marks = [];
    if (Number.isInteger(event.step)) step = event.step;
    if (event.type === "training.log") takeLog(event);
    draw();
  }

  function takeLog({ step: at, timestamp, ...figures }) {
    if (typeof figures.loss === "number") ({ loss } = figures);
    if (typeof figures.evalLoss === "number") ({ evalLoss } = figures);
    const time = Date.parse(timestamp);
    if (!Number.isNaN(time) && !(at <= marks.at(-1)?.at)) marks = [...marks, { at, time }].slice(-PACE_LOGS);
  }

  function draw() {
    element.hidden = step === null && started === null;
    const total = plannedSteps(job, started);
    const isKnown = total >= Math.max(1, step ?? 0);
    bar.hidden = !isKnown;
    bar.value = isKnown ? (step ?? 0) / total : 0;
    const place = isKnown ? `Step ${step ?? 0} of ${total}` : `Step ${step ?? 0}`;
    const figures = Object.entries({ loss, "eval loss": evalLoss }).filter(([, value]) => value !== null);
    setText(text, [place, ...figures.map(([name, value]) => `${name} ${value.toFixed(4)}`), isKnown && left(total)].filter(Boolean).join(" · "));
  }

  // By the backend's clock, since events may come late.
  function left(total) {
    const [first, last] = [marks[0], marks.at(-1)];
    const pace = marks.length > 1 ? (last.at - first.at) / (last.time - first.time) : 0;
    return pace > 0 && Number.isFinite(pace) && step < total ? `${duration((total - step) / pace)} left` : "";
  }

  return {
    element,
    take,
    update(now) {
      job = now;
      draw();
    },
  };
}
