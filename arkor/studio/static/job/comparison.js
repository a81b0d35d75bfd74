// Other runs laid over a job's chart: which there are, and the figures of those that were chosen.

import { Curve, MOST_POINTS } from "./curve.js";
import { h, setText } from "../dom.js";
import { MOST_RUNS } from "./figure.js";
import { time } from "../format.js";
import { createMark, keyedRows, withMark } from "../jobs/jobtable.js";
import { jobName } from "../record.js";

const MOST_SHOWN = 50;

/**
 * A picker. `given` are the ids of the runs that are chosen at first; `ids` are those that are chosen, `runs` those of
 * them that are there, each `{id, name, curve}`. `changed()` is called when these are others, `chose()` when somebody
 * has chosen others.
 */
export function createComparison({ api, jobs }, jobId, { given, changed, chose }) {
  const chosen = new Map(); // by id, in the order of their colours: {run, controller}, the run null until it is there
  let leave = null;

  const search = h("input", { class: "field", type: "search", "aria-label": "Search runs", placeholder: "Name or ID", oninput: draw });
  const list = h("ul", { class: "run-list" });
  const showRows = keyedRows(list, option);
  const said = h("p", { class: "quiet", role: "status" });
  const summary = h("summary", { class: "button button-small" }, "Compare");
  const element = h("details", { class: "comparison", ontoggle: toggled, onkeydown: escaped }, summary,
    h("div", { class: "comparison-box" }, search, said, list));
  const notes = h("p", { class: "problem", role: "status", hidden: true });
  const outside = (event) => { if (element.open && !element.contains(event.target)) element.open = false; };
  document.addEventListener("click", outside);

  function toggled() {
    if (!element.open) {
      leave?.();
      leave = null;
      return;
    }
    leave ??= jobs.subscribe(draw);
    search.focus();
  }

  function escaped(event) {
    if (event.key !== "Escape") return;
    element.open = false;
    summary.focus();
  }

  function draw() {
    const { data, error } = jobs.state;
    const text = search.value.trim().toLowerCase();
    const others = (data ?? []).filter(({ id }) => id !== jobId);
    const found = others.filter(({ id, name }) => !text || `${name ?? ""}\n${id}`.toLowerCase().includes(text));
    if (!data) setText(said, error ? `Couldn't load the jobs: ${error.message}` : "Loading …");
    else if (!others.length) setText(said, "There are no other runs.");
    else if (!found.length) setText(said, "No runs match.");
    else if (found.length > MOST_SHOWN) setText(said, `${found.length} runs, ${MOST_SHOWN} shown: search for others.`);
    else setText(said, "");
    showRows(found.slice(0, MOST_SHOWN));
  }

  function option(job) {
    let now = job;
    const box = h("input", { type: "checkbox", value: job.id, onchange: () => (box.checked ? choose(now.id) : drop(now.id)) });
    const name = h("span", null);
    const mark = createMark();
    const note = h("span", { class: "quiet" });
    return { element: h("li", null, h("label", null, box, withMark(name, mark), note)), update(latest) {
      now = latest;
      box.checked = chosen.has(now.id);
      box.disabled = !box.checked && chosen.size >= MOST_RUNS - 1;
      setText(name, jobName(now));
      mark.update(now);
      setText(note, `${now.id} · ${time(now.createdAt)}`);
    } };
  }

  async function choose(id) {
    notes.hidden = true;
    if (await load(id)) chose();
  }

  function drop(id) {
    chosen.get(id)?.controller.abort();
    chosen.delete(id);
    tell();
    chose();
  }

  /** Have a run laid over; returns whether it is. */
  async function load(id) {
    const entry = { run: null, controller: new AbortController() };
    const { signal } = entry.controller;
    chosen.set(id, entry);
    draw();
    let job = { id };
    try {
      job = await recordOf(id, signal);
      const { points } = await api.get(`/api/jobs/${encodeURIComponent(id)}/metrics?points=${MOST_POINTS}`, { signal });
      if (!points.length) throw new Error("it has no training.log events yet.");
      entry.run = { id, name: String(job.name ?? ""), curve: new Curve(points) };
    } catch (error) {
      if (signal.aborted) return false;
      chosen.delete(id);
      notes.hidden = false;
      setText(notes, `${jobName(job)} cannot be laid over: ${error.message}`);
    }
    tell();
    return entry.run !== null;
  }

  async function recordOf(id, signal) {
    return jobs.state.data?.find((job) => job.id === id)
      ?? (await api.get(`/api/jobs/${encodeURIComponent(id)}`, { signal })).job;
  }

  function runs() {
    return [...chosen.values()].map(({ run }) => run).filter(Boolean);
  }

  function tell() {
    const count = runs().length;
    setText(summary, count ? `Compare (${count})` : "Compare");
    draw();
    changed();
  }

  function close() {
    document.removeEventListener("click", outside);
    for (const { controller } of chosen.values()) controller.abort();
    leave?.();
  }

  given.forEach(load);
  return { element, notes, close, get ids() { return [...chosen.keys()]; }, get runs() { return runs(); } };
}
