// What the record of a job tells.

import { duration } from "./format.js";

const FINAL = new Set(["completed", "failed", "cancelled"]);

/** What to call a job: its name, or its id where the name has nothing to be seen. */
export function jobName({ id, name }) {
  const given = String(name ?? "").trim();
  return /[^\p{C}\p{Z}]/u.test(given) ? given : id;
}

/** Whether a job has ended for good. */
export function isOver(job) {
  return FINAL.has(job?.status);
}

/** Whether a job runs the whole path on a few rows only: what it leaves has learnt next to nothing. */
export function isDryRun(job) {
  return Boolean(job?.config?.dryRun);
}

/** How many steps a job is to take, as its start says, or else its settings: a dry run takes fewer. Null if unknown. */
export function plannedSteps(job, started = null) {
  if (typeof started?.maxSteps === "number") return started.maxSteps;
  return isDryRun(job) ? null : job?.config?.maxSteps ?? null;
}

/** How long a job has run, until now or its end. */
export function jobDuration(job, now = Date.now()) {
  if (!job.startedAt) return "–";
  const ended = job.completedAt ? new Date(job.completedAt).getTime() : job.status === "running" ? now : NaN;
  return duration(ended - new Date(job.startedAt).getTime());
}
