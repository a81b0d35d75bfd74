// The work on what a job has made, evaluations or exports: which there is, and how far it is. It is asked for again while
// some of it is under way.

import { createFeed, subscribe } from "../feed.js";
import { isOver } from "../record.js";

const EVERY_MS = 2000;

/** Whether a piece of work has not ended. */
export function isActive(piece) {
  return piece.status === "queued" || piece.status === "running";
}

/**
 * The list of one kind, `evaluation` or `export`: `subscribe(listener)`, told `{work, error, slow, data, loadedAt}`, the
 * newest last; `refresh()` asks again; `ask(options)` has more done, `cancel(id)` ends a piece; `jobIs(job)` is told how the
 * job does.
 */
export function createWork({ api }, jobId, kind) {
  const path = `/api/jobs/${encodeURIComponent(jobId)}/${kind}s`;
  const feed = createFeed((signal) => api.get(path, { signal }), EVERY_MS);
  const listeners = new Set();
  const answers = new Map(); // what the backend said of a piece that an older list does not have
  let job = null;
  let leave = null;
  let asking = { what: null, key: null }; // who asks again for want of an answer gets the same piece

  function work() {
    const listed = feed.state.data?.[`${kind}s`] ?? [];
    const known = new Set(listed.map(({ id }) => id));
    return [...listed, ...[...answers.values()].filter(({ id }) => !known.has(id))];
  }

  function tell() {
    const state = { ...feed.state, work: work() };
    for (const listener of [...listeners]) listener(state);
  }

  // A piece that waits for the end of its job is asked for again when the job has ended.
  function isAwaited() {
    return (job === null || isOver(job)) && work().some(isActive);
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

  async function ask(options) {
    const what = JSON.stringify(options);
    if (asking.what !== what) asking = { what, key: crypto.randomUUID() };
    const answer = await api.post(path, { ...options, idempotencyKey: asking.key });
    asking = { what: null, key: null };
    answers.set(answer[kind].id, answer[kind]);
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
      listener({ ...feed.state, work: work() });
    },
    jobIs(now) {
      const hasEnded = job !== null && !isOver(job) && isOver(now);
      job = now;
      if (hasEnded) refresh();
    },
  };
}
