// Rows that have a text, and the held-out rows.

import { h, replace, setText } from "../dom.js";
import { figure, many } from "../format.js";
import { rowLink } from "./address.js";
import { visible } from "./rowtext.js";

const PAGE = 20;
const LONGEST = 200; // characters that a backend takes

/** The panel: `run()` searches for what it was given; `onSearch({text, heldOut})` is told each search; `element`, `close()`. */
export function createSearchPanel({ ask, jobId, given, onSearch }) {
  let controller = new AbortController();
  let asked = null;

  const text = h("input", { class: "field", type: "search", id: "row-search", maxlength: LONGEST, value: given.text,
    placeholder: "Text in a row", spellcheck: "false", autocomplete: "off" });
  const heldOut = h("input", { type: "checkbox", class: "switch", id: "held-out-only", checked: given.heldOut, onchange: () => run() });
  const said = h("p", { class: "quiet", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const list = h("ol", { class: "hit-list" });
  const [before, after] = [[-PAGE, "Previous rows"], [PAGE, "More rows"]].map(([by, label]) =>
    h("button", { class: "button button-small", type: "button", hidden: true, onclick: () => search(asked.offset + by) }, label));
  const element = h("section", { class: "panel", "aria-labelledby": "search-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "search-title" }, "Find rows")),
    h("form", { class: "search-form", role: "search", onsubmit: (event) => { event.preventDefault(); run(); } },
      h("label", { class: "visually-hidden", for: "row-search" }, "Text in a row"), text,
      h("button", { class: "button", type: "submit" }, "Search")),
    h("label", { class: "switch-label", for: "held-out-only" }, heldOut, "Held-out rows only"),
    said, problem, list, h("div", { class: "hit-pages" }, before, after));

  function run() {
    asked = { text: text.value, heldOut: heldOut.checked, offset: 0 };
    onSearch(asked);
    if (asked.text || asked.heldOut) return void search(0);
    controller.abort();
    show(null);
  }

  async function search(offset) {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    asked = { ...asked, offset };
    problem.hidden = true;
    setText(said, "Searching …");
    const held = asked.heldOut ? { isHeldOut: true } : {};
    try {
      show(await ask({ search: { text: asked.text, ...held, offset, limit: PAGE } }, signal));
    } catch (error) {
      if (signal.aborted) return;
      show(null);
      problem.hidden = false;
      setText(problem, error.message);
    }
  }

  function show(found) {
    const { hits = [], total = 0 } = found ?? {};
    const last = asked.offset + hits.length;
    const kind = asked.heldOut ? "held-out row" : "row";
    setText(said, !found ? "" : total === 0 ? `No ${kind} found.` : total === hits.length ? `${many(total, kind)} found.`
      : `${figure(asked.offset + 1)} to ${figure(last)} of ${many(total, kind)} found.`);
    replace(list, hits.map((hit) => h("li", null,
      rowLink(jobId, hit, `Row ${hit.row}`), hit.isHeldOut && h("span", { class: "dry-run" }, "held out"),
      h("bdi", { class: "hit-text" }, visible(hit.before), hit.match && h("mark", null, visible(hit.match)), visible(hit.after)))));
    before.hidden = asked.offset === 0 || !found;
    after.hidden = last >= total;
  }

  return { element, run, close: () => controller.abort() };
}
