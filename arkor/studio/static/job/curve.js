// The curve of a run: few enough points to draw, however many events there were.

import { METRICS } from "./metrics.js";

export const MOST_POINTS = 2000;

/** The points of a run, each `{step, loss, evalLoss, …}` with null for what it lacks; at most twice `MOST_POINTS`. */
export class Curve {
  constructor(events = []) {
    this.points = thin(events.map(point), MOST_POINTS);
  }

  push(event) {
    this.points.push(point(event));
    if (this.points.length > 2 * MOST_POINTS) this.points = thin(this.points, MOST_POINTS);
  }

  /** The last point that has a figure, or null. */
  last(name) {
    return this.points.findLast((one) => one[name] !== null) ?? null;
  }

  has(name) {
    return this.points.some((one) => one[name] !== null);
  }
}

/** The points of the training loss. An evaluation is none; a log without any loss, such as NaN, is a gap. */
export function lossPoints(points) {
  return points.filter(({ loss, evalLoss }) => loss !== null || evalLoss === null);
}

/** Values smoothed as TensorBoard does: a moving average that forgets, without the pull to its start at zero. */
export function smoothed(values, weight) {
  let average = 0;
  let count = 0;
  return values.map((value) => {
    if (value === null) return null;
    average = weight * average + (1 - weight) * value;
    count += 1;
    return average / (1 - weight ** count);
  });
}

/** Fewer points that show the same curve: its ends, evaluations, gaps, and the extremes of the loss everywhere. */
export function thin(points, most) {
  if (points.length <= most) return points;
  const kept = new Set([points[0], points.at(-1)]);
  for (const one of extremes(points, "evalLoss", most / 2)) kept.add(one);
  for (const one of gaps(points).slice(-most / 8)) kept.add(one);
  for (const one of extremes(points, "loss", most - kept.size)) kept.add(one);
  return points.filter((one) => kept.has(one));
}

// Parts of the same number of steps, not of points: what was thinned before is not thinned twice as much.
function extremes(points, name, room) {
  const known = points.filter((one) => one[name] !== null);
  if (known.length <= room) return known;
  const first = known[0].step;
  const span = known.at(-1).step - first + 1;
  const parts = Math.max(1, Math.floor(room / 2));
  const lowest = new Map();
  const highest = new Map();
  for (const one of known) {
    const part = Math.floor(((one.step - first) / span) * parts);
    if (!(lowest.get(part)?.[name] <= one[name])) lowest.set(part, one);
    if (!(highest.get(part)?.[name] > one[name])) highest.set(part, one);
  }
  return [...lowest.values(), ...highest.values()];
}

function gaps(points) {
  const isGap = (one) => one.loss === null && one.evalLoss === null;
  return points.filter((one, index) => isGap(one) && !(index > 0 && isGap(points[index - 1])));
}

function point(event) {
  const found = { step: figure(event.step) ?? 0 };
  for (const { name } of METRICS) found[name] = figure(event[name]);
  return found;
}

function figure(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
