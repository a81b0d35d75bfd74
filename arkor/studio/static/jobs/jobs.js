// All jobs: a table that can be searched and filtered, and that keeps itself up to date.

import { h, setText } from "../dom.js";
import { createFreshness } from "../freshness.js";
import { countOf, keyedRows, tableRow } from "./jobtable.js";

const STATUSES = ["queued", "running", "paused", "completed", "failed", "cancelled"];
const COLUMNS = ["Status", "Name", "Created", "Duration", "Last loss", "ID"];
const AT_A_TIME = 200;
const TICK_MS = 1000;

export function mount(root, { jobs, announce, readdress }, { query }) {
  let most = AT_A_TIME;
  const search = h("input", { class: "field", type: "search", id: "job-search", placeholder: "Name or ID",
    value: query.get("q") ?? "", spellcheck: "false", oninput: changed });
  const filter = h("select", { class: "field", id: "job-status", onchange: changed },
    h("option", { value: "" }, "All"), STATUSES.map((name) => h("option", { value: name }, name)));
  filter.value = STATUSES.includes(query.get("status")) ? query.get("status") : "";
  const refresh = h("button", { class: "button", type: "button", onclick: () => jobs.refresh() }, "Refresh");
  const count = h("span", { class: "quiet", role: "status" });
  const stale = createFreshness("the jobs");
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table", { class: "table", role: "table" },
    h("caption", { class: "visually-hidden" }, "Jobs, the newest first"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      COLUMNS.map((name) => h("th", { role: "columnheader", scope: "col" }, name)))),
    body);
  const empty = h("p", { class: "empty" });
  const more = h("button", { class: "button", type: "button", hidden: true, onclick: showMore });
  const update = keyedRows(body, (job) => tableRow(job, announce));
  root.append(
    h("div", { class: "view-head" }, h("h1", null, "Jobs"), count,
      h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
        h("label", { for: "job-search" }, "Search"), search, h("label", { for: "job-status" }, "Status"), filter, refresh)),
    stale.element, h("div", { class: "panel table-panel" }, table, empty), more,
  );

  function matching(all) {
    const text = search.value.trim().toLowerCase();
    return all.filter((job) => (!filter.value || job.status === filter.value)
      && (!text || `${job.name ?? ""}\n${job.id}`.toLowerCase().includes(text)));
  }

  function draw() {
    const { data, error } = jobs.state;
    const found = matching(data ?? []);
    update(found.slice(0, most));
    table.hidden = found.length === 0;
    empty.hidden = found.length > 0 || (!data && Boolean(error));
    const all = countOf(data);
    setText(empty, !data ? "Loading …" : data.length === 0 ? "No jobs yet."
      : data.more ? `No jobs match among the newest ${data.length}.` : "No jobs match.");
    setText(count, !data?.length ? "" : found.length === data.length ? all : `${found.length} of ${all}`);
    const hidden = found.length - most;
    more.hidden = hidden <= 0 && !data?.more;
    setText(more, hidden > 0 ? `Show ${Math.min(AT_A_TIME, hidden)} more` : "Load older jobs");
  }

  function showMore() {
    if (matching(jobs.state.data ?? []).length <= most) jobs.loadMore();
    most += AT_A_TIME;
    draw();
  }

  // What is looked for is part of the address: it survives a reload, and the way back from a job.
  function changed() {
    const kept = new URLSearchParams();
    if (filter.value) kept.set("status", filter.value);
    if (search.value.trim()) kept.set("q", search.value.trim());
    readdress(kept.size ? `#/jobs?${kept}` : "#/jobs");
    most = AT_A_TIME;
    draw();
  }

  const leave = jobs.subscribe((state) => {
    stale.update(state);
    refresh.disabled = false;
    refresh.classList.toggle("busy", state.loading);
    draw();
  });
  // Durations of running jobs go on between two answers.
  const clock = setInterval(() => document.hidden || draw(), TICK_MS);
  return () => {
    clearInterval(clock);
    leave();
  };
}
