// Home: the run panel, and the jobs beside it.

import { h, setText } from "../dom.js";
import { createFreshness } from "../freshness.js";
import { countOf, keyedRows, shortRow } from "../jobs/jobtable.js";
import { mountRunPanel } from "./runpanel.js";

const MOST = 12;

export function mount(root, context) {
  const panel = h("section", { class: "panel run-panel", "aria-label": "Run training" });
  const beside = h("section", { class: "panel", "aria-label": "Jobs" });
  root.append(h("h1", { class: "visually-hidden" }, "Home"), h("div", { class: "home" }, panel, beside));
  const leave = [mountRunPanel(panel, context), mountJobs(beside, context)];
  return () => leave.forEach((end) => end());
}

function mountJobs(root, { jobs }) {
  const list = h("ul", { class: "short-list" });
  const empty = h("p", { class: "empty", hidden: true }, "No jobs yet.");
  const more = h("a", { href: "#/jobs" }, "All jobs");
  const stale = createFreshness("the jobs");
  const update = keyedRows(list, shortRow);
  root.append(h("div", { class: "panel-head" }, h("h2", null, "Jobs"), more), stale.element, list, empty);
  return jobs.subscribe((state) => {
    stale.update(state);
    update((state.data ?? []).slice(0, MOST));
    setText(more, state.data?.length > MOST ? `All ${countOf(state.data)} jobs` : "All jobs");
    setText(empty, state.data ? "No jobs yet." : "Loading …");
    empty.hidden = Boolean(state.data?.length) || (!state.data && Boolean(state.error));
  });
}
