// What a model would learn of all rows: their lengths, and what was lost.

import { h, replace, setText } from "../dom.js";
import { figure, many } from "../format.js";
import { createReceipt } from "../job/receipt.js";
import { rowLink } from "./address.js";
import { createHistogram } from "./histogram.js";

const QUANTILES = [["p50", "Half have at most"], ["p90", "90 % have at most"], ["p99", "99 % have at most"], ["longest", "Longest"]];
const MOST_KEPT = 8;

const kept = new Map(); // by what was asked of: all rows are looked through for a summary

/** The panel: `load(of)` asks for the summary; `element`, `close()`. */
export function createSummary({ ask, jobId }) {
  const controller = new AbortController();
  const said = h("p", { class: "quiet", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const wouldFail = h("p", { class: "problem", hidden: true });
  const facts = h("ul", { class: "job-facts" });
  const longest = h("p");
  const longer = h("p");
  const receipt = createReceipt(jobId);
  const chart = createHistogram({ onProblem: (error) => fail(`The chart cannot be drawn: ${error.message}`) });
  const figures = h("div", { class: "summary", hidden: true }, wouldFail, facts, chart.element, longest, longer, receipt.element);
  const retry = h("button", { class: "button button-small", type: "button", hidden: true, onclick: load }, "Try again");
  const element = h("section", { class: "panel", "aria-labelledby": "summary-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "summary-title" }, "All rows")), said, problem, retry, figures);
  let of = null;

  async function load() {
    const key = JSON.stringify(of);
    problem.hidden = retry.hidden = true;
    if (!kept.has(key)) {
      setText(said, "Counting the tokens of all rows …");
      try {
        const { summary } = await ask({}, controller.signal);
        kept.set(key, summary);
      } catch (error) {
        if (controller.signal.aborted) return;
        setText(said, "");
        retry.hidden = false;
        return void fail(error.message);
      }
      for (const old of [...kept.keys()].slice(0, Math.max(0, kept.size - MOST_KEPT))) kept.delete(old);
    }
    setText(said, "");
    show(kept.get(key));
  }

  function fail(text) {
    problem.hidden = false;
    setText(problem, text);
  }

  function show(summary) {
    figures.hidden = false;
    wouldFail.hidden = !summary.problem;
    setText(wouldFail, `A job would fail: ${summary.problem}`);
    replace(facts, QUANTILES.map(([name, label]) => h("li", null, h("span", null, label), h("b", null, many(summary[name], "token")))));
    replace(longest, "Longest rows: ", summary.longestRows.map(({ row, tokens }, place) => [
      place > 0 && ", ", rowLink(jobId, { row }, `row ${row}`), ` (${figure(tokens)})`]));
    longer.hidden = summary.longerRows.length === 0;
    replace(longer, "Longer than ", summary.longerRows.map(({ maxLength, rows }, place) => [
      place > 0 && ", ", `${figure(maxLength)}: ${many(rows, "row")}`]));
    receipt.update(summary.receipt);
    chart.element.hidden = !summary.histogram?.length; // an older backend sends none
    if (summary.histogram?.length) chart.draw(summary.histogram, summary.receipt.maxLength);
  }

  function close() {
    controller.abort();
    chart.close();
  }

  return {
    element,
    close,
    load(now) {
      of = now;
      return load();
    },
  };
}
