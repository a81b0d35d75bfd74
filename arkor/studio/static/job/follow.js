// A job's history, and then each of its events as it comes.

import { MOST_POINTS } from "./curve.js";
import { createFeed, subscribe } from "../feed.js";
import { followEvents } from "./stream.js";

const EVERY_MS = 5000;

/**
 * Follow a job: `begin(history)` gets the answer of GET …/metrics once, then `handlers` get what `followEvents` has.
 * `changed(state)` is told how asking for the history goes. Returns what ends it.
 */
export function followJob(api, id, { begin, changed = () => {}, ...handlers }) {
  const path = `/api/jobs/${encodeURIComponent(id)}/metrics?points=${MOST_POINTS}`;
  const history = createFeed((signal) => api.get(path, { signal }), EVERY_MS);
  let endEvents = () => {};
  const leave = subscribe(history, (state) => {
    if (state.error?.status === 404) return;
    changed(state);
    if (!state.data) return;
    leave();
    begin(state.data);
    if (!state.data.ended) endEvents = followEvents(api, id, state.data.lastEventId, handlers);
  });
  return () => {
    leave();
    endEvents();
  };
}
