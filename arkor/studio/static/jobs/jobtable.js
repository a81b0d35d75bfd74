// Rows of jobs that stay the same elements over every refresh: focus, selection and scroll position are kept.

import { h, setAttribute, setText } from "../dom.js";
import { ago, number, time } from "../format.js";
import { isDryRun, isOver, jobDuration, jobName, plannedSteps } from "../record.js";

/** The address of a job's view. */
export function jobHref(id) {
  return `#/jobs/${encodeURIComponent(id)}`;
}

/** Return how many jobs there are, as far as is known: "500+" where there are older ones. */
export function countOf(jobs) {
  return `${jobs?.length ?? 0}${jobs?.more ? "+" : ""}`;
}

/** A status as a badge; `update(status)` changes it. */
export function createStatus() {
  const element = h("span", { class: "status" });
  return { element, update(status) {
    const name = String(status ?? "unknown");
    setAttribute(element, "class", `status status-${name.toLowerCase().replace(/[^a-z0-9-]/g, "-")}`);
    setText(element, name);
  } };
}

/** The mark of a dry run; `update(job)` shows or hides it. */
export function createMark() {
  const element = h("span", { class: "dry-run" });
  return { element, update: (job) => setText(element, isDryRun(job) ? "dry run" : "") };
}

/** What a job is called, with the mark of a dry run after it. */
export function withMark(name, mark) {
  return h("span", { class: "job-title" }, name, " ", mark.element);
}

/** Keep the children of `parent` to one per job, in order. `make()` gives `{element, update(job)}`. */
export function keyedRows(parent, make) {
  const rows = new Map();
  return (jobs) => {
    const wanted = new Set(jobs.map(({ id }) => id));
    for (const [id, row] of rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    let place = parent.firstChild;
    for (const job of jobs) {
      if (!rows.has(job.id)) rows.set(job.id, make(job));
      const row = rows.get(job.id);
      row.update(job);
      // Moving an element takes the focus from it: move only those that are elsewhere.
      if (row.element === place) place = place.nextSibling;
      else parent.insertBefore(row.element, place);
    }
  };
}

/** One line of the short list. */
export function shortRow(job) {
  const status = createStatus();
  const link = h("a", { class: "job-name", href: jobHref(job.id) });
  const mark = createMark();
  const created = h("time", { class: "quiet" });
  const loss = h("span", { class: "quiet figure" });
  const element = h("li", { class: "short-row" }, status.element, withMark(link, mark), loss, created);
  return { element, update(now) {
    status.update(now.status);
    mark.update(now);
    setText(link, jobName(now));
    setAttribute(link, "title", now.id);
    setText(created, ago(now.createdAt));
    setAttribute(created, "title", time(now.createdAt));
    setText(loss, lossOf(now) === null ? "" : `loss ${number(lossOf(now))}`);
  } };
}

/** One row of the table. */
export function tableRow(job, announce) {
  const status = createStatus();
  const link = h("a", { class: "job-name", href: jobHref(job.id) });
  const mark = createMark();
  const created = h("time");
  const lasted = h("span", { class: "figure" });
  const loss = h("span", { class: "figure" });
  const step = h("span", { class: "quiet step" });
  const copy = h("button", { class: "button button-quiet copy", type: "button", "aria-label": `Copy the ID ${job.id}`,
    title: "Copy", onclick: () => copyId(copy, job.id, announce) });
  const element = h("tr", { role: "row" },
    cell("Status", status.element), cell("Name", withMark(link, mark)), cell("Created", created), cell("Duration", lasted),
    cell("Last loss", loss, step), cell("ID", h("span", { class: "id-cell" }, h("code", { class: "id" }, job.id), copy)));
  return { element, update(now) {
    status.update(now.status);
    mark.update(now);
    setText(link, jobName(now));
    setText(created, time(now.createdAt));
    setAttribute(created, "datetime", now.createdAt ?? null);
    setText(lasted, jobDuration(now));
    setText(loss, lossOf(now) === null ? "–" : number(lossOf(now)));
    setText(step, stepOf(now));
  } };
}

function cell(label, ...content) {
  return h("td", { role: "cell", "data-label": label }, content);
}

function lossOf(job) {
  return typeof job.progress?.loss === "number" ? job.progress.loss : null;
}

function stepOf(job) {
  const step = job.progress?.step;
  if (typeof step !== "number") return "";
  const last = plannedSteps(job);
  return typeof last === "number" && !isOver(job) ? `step ${step} of ${last}` : `step ${step}`;
}

async function copyId(button, id, announce) {
  try {
    await navigator.clipboard.writeText(id);
    button.classList.add("copied");
    announce("Copied.");
  } catch {
    announce("The browser does not let this page copy.");
  }
  setTimeout(() => button.classList.remove("copied"), 1500);
}
