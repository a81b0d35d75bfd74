// The rows of a job, or of the trainer that a run would start, as its model sees them.

import { h, replace, setText } from "../dom.js";
import { jobHref } from "../jobs/jobtable.js";
import { jobName } from "../record.js";
import { placeOf, readAddress, rowsHref } from "./address.js";
import { createAsker } from "./preview.js";
import { createRowPanel } from "./rowpanel.js";
import { createSearchPanel } from "./searchpanel.js";
import { createSummary } from "./summary.js";

export function mount(root, { api, announce, readdress, title: nameView }, { id: jobId = null, query }) {
  const controller = new AbortController();
  const { signal } = controller;
  const address = readAddress(query);
  const ends = [];

  const title = h("h1", null, "Rows");
  const model = h("span", { class: "quiet" });
  const back = h("a", { href: jobId === null ? "#/" : jobHref(jobId) }, jobId === null ? "Home" : "The job");
  const said = h("p", { class: "quiet", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const failed = h("div", { class: "panel plain", hidden: true }, problem,
    h("button", { class: "button", type: "button", onclick: begin }, "Try again"));
  const body = h("div", { class: "data", hidden: true });
  const view = h("div", { onclick: onClick }, h("div", { class: "view-head" }, title, model, h("span", { class: "head-buttons" }, back)),
    said, failed, body);
  let panel = null;
  root.append(view);
  begin();

  async function begin() {
    failed.hidden = true;
    try {
      const { of, name, modelName } = await (jobId === null ? draft() : job());
      setText(title, `Rows of ${name}`);
      setText(model, `as ${modelName} sees them`);
      nameView(`Rows of ${name}`);
      await open(of);
    } catch (error) {
      if (signal.aborted) return;
      setText(problem, error.message);
      failed.hidden = false;
    }
    setText(said, "");
  }

  async function draft() {
    setText(said, "Reading src/arkor/index.py, and sending its rows to the backend …");
    const { draft: found } = await api.post("/api/draft", {}, { signal });
    return { of: { draft: found.id }, name: found.name, modelName: found.model };
  }

  async function job() {
    const { job: found } = await api.get(`/api/jobs/${encodeURIComponent(jobId)}`, { signal });
    return { of: { job: jobId }, name: jobName({ id: jobId, ...found }), modelName: String(found.config?.model ?? "its model") };
  }

  /** Show the first row; what all rows have comes after it, since the backend looks through them once more for that. */
  async function open(of) {
    closeParts();
    setText(said, "Reading the rows …");
    const ask = createAsker(api, of);
    const rows = createRowPanel({ ask, announce, onShown });
    const search = createSearchPanel({ ask, jobId, given: address, onSearch });
    const summary = createSummary({ ask, jobId });
    ends.push(rows.close, search.close, summary.close);
    try {
      await rows.go(address.place);
    } catch (error) {
      if (!address.place) throw error;
      await rows.go(null); // perhaps the row of the address alone is at fault
      rows.fail(error);
    }
    if (signal.aborted) return;
    panel = rows;
    replace(body, rows.element, h("div", { class: "data-beside" }, search.element, summary.element));
    body.hidden = false;
    summary.load(of);
    if (address.text || address.heldOut) search.run();
  }

  function onShown({ row, isHeldOut }) {
    address.place = { row, isHeldOut };
    readdress(rowsHref(jobId, address));
  }

  function onSearch({ text, heldOut }) {
    Object.assign(address, { text, heldOut });
    readdress(rowsHref(jobId, address));
  }

  // A row of this view is shown in it, without loading the view again.
  function onClick(event) {
    const link = event.target.closest("a[data-row]");
    if (!link || !panel || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    panel.go(placeOf(link)).catch(() => {}); // the panel says why
    panel.element.scrollIntoView({ block: "nearest" });
  }

  function closeParts() {
    for (const end of ends.splice(0)) end();
  }

  return () => {
    controller.abort();
    closeParts();
  };
}
