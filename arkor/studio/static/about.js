// Who Studio is to the backend, and what that backend can do.

import { createFeed } from "./feed.js";

const EVERY_MS = 15000;

const WITHOUT = {
  artifacts: "This backend does not hand out the files of a job.",
  evaluations: "This backend makes no evaluations.",
  exports: "This backend makes no exports.",
  inference: "This backend does not run models.",
  models: "This backend does not list its models.",
  samples: "This backend makes no samples.",
};

/** A feed of GET /api/credentials that also knows which features there are, and why one is not to be had. */
export function createAbout(api) {
  const feed = createFeed((signal) => api.get("/api/credentials", { signal }), EVERY_MS);
  let well = true;
  let known = []; // the features, as of the last time that the backend answered
  feed.subscribe(({ data, error, loading }) => {
    known = data?.features ?? known;
    if (loading || (!data && !error)) return;
    const before = well;
    well = !error && !data.error;
    if (well && !before) dispatchEvent(new Event("back"));
  });
  const { subscribe, refresh } = feed;
  return { subscribe, refresh, lacks, has, get value() { return feed.state.data; } };

  /** Whether the backend has said that it can do this. */
  function has(feature) {
    return known.includes(feature);
  }

  /** Why the backend cannot do this, or null where it can or nobody knows. */
  function lacks(feature) {
    const { features = null, backend = null } = feed.state.data ?? {};
    // Arkor Cloud names neither itself nor inference, which is part of its contract.
    if (features === null || features.includes(feature) || (feature === "inference" && backend === null)) return null;
    return WITHOUT[feature] ?? `This backend has no ${feature}.`;
  }
}
