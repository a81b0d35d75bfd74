// What a job's view shows: which tab, and what of the chart. It is part of the page's address: a reload, or somebody
// who gets the link, sees the same.

import { MOST_RUNS, RATES } from "./figure.js";
import { jobHref } from "../jobs/jobtable.js";

export const MOST_SMOOTHING = 0.99;

const TABS = ["training", "samples", "report", "export"];
const SMOOTHING = /^0?\.\d{1,2}$/;
const RANGE = /^(-?\d+(?:\.\d+)?(?:e-?\d+)?)\.\.(-?\d+(?:\.\d+)?(?:e-?\d+)?)$/;
const WHOLE_RANGE = /^\d{1,15}\.\.\d{1,15}$/;

/**
 * Read a view from an address: `{tab, log, smoothing, rates, steps, loss, compare}`, with `steps` and `loss` each a range or
 * null for all, and `compare` the ids of other jobs. What is unknown or broken is passed over.
 */
export function readView(query, jobId) {
  const [smoothing, steps] = ["smoothing", "steps"].map((name) => query.get(name) ?? "");
  const others = new Set(query.getAll("compare").filter((id) => id && id !== jobId));
  return {
    tab: TABS.find((tab) => tab === query.get("tab")) ?? TABS[0],
    log: query.get("axis") === "log",
    smoothing: SMOOTHING.test(smoothing) ? Number(smoothing) : 0,
    rates: Object.keys(RATES).filter((name) => query.getAll("rate").includes(name)),
    steps: WHOLE_RANGE.test(steps) ? rangeOf(steps) : null,
    loss: rangeOf(query.get("loss") ?? ""),
    compare: [...others].slice(0, MOST_RUNS - 1),
  };
}

/** Return the address of a job's view. */
export function addressOf(jobId, { tab, log, smoothing, rates, steps, loss, compare }) {
  const query = new URLSearchParams();
  if (tab !== TABS[0]) query.set("tab", tab);
  if (log) query.set("axis", "log");
  if (smoothing) query.set("smoothing", smoothing);
  for (const name of rates) query.append("rate", name);
  if (steps) query.set("steps", steps.join(".."));
  if (loss) query.set("loss", loss.map((end) => Number(end.toPrecision(6))).join(".."));
  for (const id of compare) query.append("compare", id);
  return query.size ? `${jobHref(jobId)}?${query}` : jobHref(jobId);
}

function rangeOf(text) {
  const [low, high] = (RANGE.exec(text) ?? []).slice(1).map(Number);
  return Number.isFinite(low) && Number.isFinite(high) && low < high ? [low, high] : null;
}
