// The project's jobs, asked for again and again: the newest ones, and older ones once somebody wants them.

import { createFeed } from "../feed.js";

const EVERY_MS = 5000;
const FIRST = 500;

/**
 * A feed, as `createFeed` makes one. Its data are the jobs, the newest first; their `more` says whether there are older
 * ones. `loadMore()` has twice as many from now on.
 */
export function createJobList(api) {
  let limit = FIRST;
  const feed = createFeed(async (signal) => {
    const { jobs, more } = await api.get(`/api/jobs?limit=${limit}`, { signal });
    return Object.assign(jobs, { more: Boolean(more) });
  }, EVERY_MS);

  function loadMore() {
    const wanted = 2 * (feed.state.data?.length ?? 0);
    if (!feed.state.data?.more || wanted <= limit) return; // there are none, or they are on their way
    limit = wanted;
    feed.refresh().then(feed.refresh); // the first may have been under way
  }

  return { subscribe: feed.subscribe, refresh: feed.refresh, loadMore, get state() { return feed.state; } };
}
