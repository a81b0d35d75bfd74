// Who may answer: a base model, or what a job has left. No elements here.
//
// A choice is `{job, step}` or `{model}`. A step of null is the final adapter, undefined the best that there is. A model
// that is `raw` continues plain text.

import { isDryRun, isOver, jobName } from "../record.js";

/** Read a choice from an address; null where it names none. */
export function choiceOf(query) {
  const [job, model, step] = ["job", "model", "step"].map((name) => query.get(name));
  if (job) return { job, step: /^[0-9]{1,15}$/.test(step ?? "") ? Number(step) : undefined };
  return model ? { model, ...(query.get("raw") === "1" ? { raw: true } : {}) } : null;
}

/** Return the address of a choice. */
export function addressOf(choice, compare) {
  const query = new URLSearchParams();
  if (choice?.job) query.set("job", choice.job);
  if (Number.isInteger(choice?.step)) query.set("step", choice.step);
  if (choice?.model) query.set("model", choice.model);
  if (choice?.raw) query.set("raw", "1");
  if (compare) query.set("compare", "1");
  return query.size ? `#/playground?${query}` : "#/playground";
}

/** Return the fields of a question that name who is to answer. */
export function targetOf({ job, step, model }) {
  if (model) return { baseModel: model };
  return { adapter: Number.isInteger(step) ? { kind: "checkpoint", jobId: job, step } : { kind: "final", jobId: job } };
}

/** Return what to call a choice. */
export function labelOf({ job, step, model }, jobs) {
  if (model) return model;
  return `${jobName(jobs?.find(({ id }) => id === job) ?? { id: job })}, ${versionName(step)}`;
}

/** Return what to call what a job has left. */
export function versionName(step) {
  return Number.isInteger(step) ? `checkpoint at step ${step}` : "final adapter";
}

/**
 * The choice for somebody who made none: the newest job that completed, else a model that is ready, else a job. A dry run
 * is never among them.
 */
export function firstChoice(jobs, models) {
  const trained = (jobs ?? []).filter((job) => !isDryRun(job));
  const job = trained.find(({ status }) => status === "completed");
  const model = models?.find(({ ready }) => ready);
  if (job) return { job: job.id, step: null };
  if (model) return { model: model.id };
  return trained.length ? { job: trained[0].id, step: undefined } : null;
}

/** Ask for what a job has left: `{steps, final}`; final is null where only the job's status tells. */
export async function loadSaved(api, about, id, signal) {
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  if (about.lacks("artifacts") === null) {
    const { artifacts } = await api.get(`${path}/artifacts`, { signal });
    const adapters = artifacts.filter(({ kind }) => kind === "adapter");
    return { steps: inOrder(adapters), final: adapters.some(({ step }) => !Number.isInteger(step)) };
  }
  const { lines } = await api.get(`${path}/metrics?points=10`, { signal });
  return { steps: inOrder(lines.filter(({ type }) => type === "checkpoint.saved")), final: null };
}

/** Say what a job has to ask, the best first: null for the final adapter, and steps. Null where nobody knows yet. */
export function versionsOf(job, saved) {
  if (!saved) return job?.status === "completed" ? [null] : null;
  const final = saved.final ?? job?.status === "completed";
  return [...(final ? [null] : []), ...saved.steps];
}

/** Say why nobody can answer, or null. */
export function problemOf(choice, { jobs, models, saved }) {
  if (!choice) return "Choose who is to answer.";
  if (choice.model !== undefined) return modelProblem(choice.model, models);
  const job = jobs?.find(({ id }) => id === choice.job);
  if (jobs && !job) return jobs.more ? null : `There is no job ${choice.job} in this project.`;
  if (!job || !saved) return null;
  const versions = versionsOf(job, saved);
  if (versions.includes(choice.step)) return null;
  if (!versions.length) return isOver(job) ? "This job has left no adapter." : nothingYet(job);
  return choice.step === undefined ? null : `This job has no ${versionName(choice.step)}${isOver(job) ? "" : " yet"}.`;
}

function modelProblem(name, models) {
  if (!name) return "Type the name of a model.";
  const model = models?.find(({ id }) => id === name);
  if (!model || model.ready) return null;
  const { state, phase = "", done, total, error = "" } = model.pull ?? {};
  if (state === "running") return `${name} is being fetched: ${phase}${total > 0 ? ` ${Math.floor((100 * done) / total)} %` : ""}.`;
  const why = state === "failed" ? `${name} could not be fetched: ${error}` : `${name} is not on the backend's disk yet.`;
  return `${why} Fetch it with: arkor models pull ${name}`;
}

function nothingYet(job) {
  if (job.status === "queued") return "This job waits for its turn. What it saves appears here by itself.";
  if (job.status === "paused") return "This job is paused and has no checkpoint yet. What it saves later appears here by itself.";
  return job.config?.saveSteps
    ? `This job has no checkpoint yet; the first one, at step ${job.config.saveSteps}, appears here by itself.`
    : "This job saves only its final adapter, which appears here by itself (save_steps makes checkpoints on the way).";
}

// The newest first.
function inOrder(entries) {
  const steps = entries.map(({ step }) => step).filter(Number.isInteger);
  return [...new Set(steps)].sort((one, other) => other - one);
}
