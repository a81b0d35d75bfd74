// The rows of a report: what was asked, what was expected, and the answers side by side.

import { rowLink } from "../data/address.js";
import { h, replace, setAttribute, setText } from "../dom.js";
import { capital, figure, many } from "../format.js";
import { percent } from "./figures.js";
import { contentOf, createSaid } from "./messages.js";

const AT_ONCE = 20;
const KINDS = [["all", "All"], ["better", "Wins"], ["worse", "Losses"]];
const MARKS = { better: ["mark-good", "win"], worse: ["mark-bad", "loss"] };

/**
 * The rows with a filter. `cases` and `scores` are of a report, `candidates` too, the one that the others are compared
 * with first. `jobId` is null where the rows are not those that a job held out: their numbers lead nowhere then.
 */
export function createCases({ cases, scores, candidates, jobId }) {
  const [against, ...others] = candidates;
  const metric = scores.map(({ name }) => name).find((name) => cases.some((one) => one.scores?.[name])) ?? null;
  const shown = { who: others.includes("adapter") ? "adapter" : others[0] ?? against, kind: "all", most: AT_ONCE };
  const list = h("ol", { class: "case-list" });
  const more = h("button", { class: "button", type: "button", hidden: true, onclick: goOn });
  const none = h("p", { class: "quiet", role: "status" });
  const buttons = KINDS.map(([kind]) => h("button", { class: "button button-small", type: "button", onclick: () => filter({ kind }) }));
  const who = h("select", { class: "field", "aria-label": "Compare", onchange: () => filter({ who: who.value }) },
    others.map((name) => h("option", { value: name }, name)));
  const filters = h("div", { class: "case-filters", role: "group", "aria-label": "Which rows" }, buttons, others.length > 1 && who);
  who.value = shown.who;

  function filter(change) {
    Object.assign(shown, change, { most: AT_ONCE });
    draw();
  }

  function kindOf(one) {
    const values = one.scores?.[metric] ?? {};
    const difference = values[shown.who] - values[against];
    return difference > 0 ? "better" : difference < 0 ? "worse" : "same";
  }

  function draw() {
    const found = cases.filter((one) => shown.kind === "all" || kindOf(one) === shown.kind);
    KINDS.forEach(([kind, label], at) => {
      const count = kind === "all" ? cases.length : cases.filter((one) => kindOf(one) === kind).length;
      setText(buttons[at], `${label} ${figure(count)}`);
      setAttribute(buttons[at], "aria-pressed", String(kind === shown.kind));
    });
    replace(list, found.slice(0, shown.most).map(item));
    setText(none, found.length ? "" : `No row is a ${shown.kind === "better" ? "win" : "loss"} of ${shown.who}.`);
    none.hidden = found.length > 0;
    more.hidden = found.length <= shown.most;
    setText(more, `Show ${figure(Math.min(AT_ONCE, found.length - shown.most))} more of ${figure(found.length)}`);
  }

  function goOn() {
    const first = shown.most;
    shown.most += AT_ONCE;
    draw();
    list.children[first]?.querySelector("h3").focus();
  }

  function item(one) {
    const mark = MARKS[kindOf(one)];
    const name = `Row ${one.row}`;
    return h("li", { class: "case" },
      h("div", { class: "case-head" },
        h("h3", { tabindex: "-1" }, jobId === null ? name : rowLink(jobId, { row: one.row, isHeldOut: true }, name)),
        mark && h("span", { class: `mark ${mark[0]}` }, mark[1])),
      before(one),
      h("dl", { class: "case-parts" },
        part("case-wide", asker(one), createSaid(contentOf(one.messages?.at(-1) ?? {}), one.messages?.at(-1)?.tool_calls, "No question.")),
        part("case-wide", "Expected", createSaid(one.expected, one.expectedCalls, "An empty answer.")),
        [...new Set([against, shown.who])].map((candidate) => answer(one, candidate))));
  }

  function answer(one, candidate) {
    const { text, calls, finishReason } = one.answers?.[candidate] ?? {};
    const said = [createSaid(text, calls, "The model ended its answer without a text."),
      finishReason === "length" && h("span", { class: "mark mark-warn" }, "cut at the longest answer")];
    const figures = scores.filter(({ name }) => typeof one.scores?.[name]?.[candidate] === "number")
      .map(({ name, label }) => `${label || name} ${percent(one.scores[name][candidate])}`);
    return part("case-answer", [candidate, " ", h("span", { class: "quiet" }, figures.join(" · "))], said);
  }

  draw();
  return h("div", { class: "cases" }, filters, none, list, more);
}

function asker(one) {
  const role = String(one.messages?.at(-1)?.role ?? "user");
  return role === "user" ? "Question" : capital(role);
}

// The conversation before the question, folded.
function before({ messages = [], tools = [] }) {
  const turns = messages.slice(0, -1);
  if (turns.length + tools.length === 0) return null;
  const what = [...(turns.length ? [many(turns.length, "earlier message")] : []), ...(tools.length ? [many(tools.length, "tool")] : [])];
  return h("details", { class: "case-before" }, h("summary", null, capital(what.join(" and "))),
    h("dl", { class: "case-parts" },
      turns.map((turn) => part("case-wide", String(turn.role ?? "–"), createSaid(contentOf(turn), turn.tool_calls, "No text."))),
      tools.map((tool) => part("case-wide", "Tool", createSaid(JSON.stringify(tool?.function ?? tool), [], "")))));
}

function part(kind, name, content) {
  return h("div", { class: kind }, h("dt", null, name), h("dd", null, content));
}
