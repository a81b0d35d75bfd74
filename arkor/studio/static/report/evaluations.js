// The evaluations of a job: which there are, and how far they are. They are asked for again while one is under way.

import { createFeed, subscribe } from "../feed.js";
import { isOver } from "../record.js";

const EVERY_MS = 2000;

/** Whether an evaluation has not ended. */
export function isActive(evaluation) {
  return evaluation.status === "queued" || evaluation.status === "running";
}

/** Whether an evaluation asks no question: it only checks the served adapter. */
export function isCheckOnly({ options }) {
  return options?.limit === 0 && options?.retention === false;
}

/**
 * The list: `subscribe(listener)`, told `{evaluations, error, slow, data, loadedAt}`, the newest last; `refresh()` asks
 * again; `ask(limit)` has the job evaluated, `cancel(id)` ends an evaluation; `jobIs(job)` is told how the job does.
 */
export function createEvaluations({ api }, jobId) {
  const path = `/api/jobs/${encodeURIComponent(jobId)}/evaluations`;
  const feed = createFeed((signal) => api.get(path, { signal }), EVERY_MS);
  const listeners = new Set();
  const answers = new Map(); // what the backend said of an evaluation that an older list does not have
  let job = null;
  let leave = null;
  let asking = { limit: null, key: null }; // who asks again for want of an answer gets the same evaluation

  function evaluations() {
    const listed = feed.state.data?.evaluations ?? [];
    const known = new Set(listed.map(({ id }) => id));
    return [...listed, ...[...answers.values()].filter(({ id }) => !known.has(id))];
  }

  function tell() {
    const state = { ...feed.state, evaluations: evaluations() };
    for (const listener of [...listeners]) listener(state);
  }

  // One that waits for the end of its job is asked for again when the job has ended.
  function isAwaited() {
    return (job === null || isOver(job)) && evaluations().some(isActive);
  }

  function refresh() {
    const before = feed.state.loadedAt;
    if (leave) return void feed.refresh();
    leave = subscribe(feed, (state) => {
      tell();
      const isAnswered = !state.loading && (state.error?.status === 404 || (!state.error && state.loadedAt !== before));
      if (isAnswered && !isAwaited()) stop();
    });
  }

  function stop() {
    leave?.();
    leave = null;
  }

  async function ask(limit) {
    if (asking.limit !== limit) asking = { limit, key: crypto.randomUUID() };
    const { evaluation } = await api.post(path, { limit, idempotencyKey: asking.key });
    asking = { limit: null, key: null };
    answers.set(evaluation.id, evaluation);
    tell();
    refresh();
  }

  async function cancel(id) {
    await api.post(`${path}/${encodeURIComponent(id)}/cancel`);
    refresh();
  }

  refresh();
  return {
    path, refresh, ask, cancel, close: stop,
    subscribe(listener) {
      listeners.add(listener);
      listener({ ...feed.state, evaluations: evaluations() });
    },
    jobIs(now) {
      const hasEnded = job !== null && !isOver(job) && isOver(now);
      job = now;
      if (hasEnded) refresh();
    },
  };
}
