// One row as the model sees it, and the way to the others.

import { h, replace, setText } from "../dom.js";
import { figure, many } from "../format.js";
import { createRowStore } from "./preview.js";
import { drawTokens } from "./rowtext.js";

const KEYS = { ArrowLeft: "previous", k: "previous", ArrowRight: "next", j: "next" };
const TYPED_IN = "input:not([type=checkbox]), select, textarea";

/**
 * The panel: `go(place)` gives a promise that ends when the row is shown, or another is wanted by then; `fail(error)` says
 * what is wrong; `onShown(row)` is told each row; `element`, `close()`.
 */
export function createRowPanel({ ask, announce, onShown }) {
  const store = createRowStore(ask);
  let shown = null;
  let turn = 0;

  const [previous, next] = [["previous", "Previous"], ["next", "Next"]].map(([side, label]) =>
    h("button", { class: "button", type: "button", disabled: true, onclick: () => step(side) }, label));
  const number = h("input", { class: "field row-number", id: "row-number", inputmode: "numeric", autocomplete: "off", spellcheck: "false" });
  const borders = h("input", { type: "checkbox", class: "switch", id: "token-borders", onchange: drawExamples });
  const title = h("h2", { id: "row-title" }, "Row");
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const facts = h("ul", { class: "job-facts" });
  const losses = h("ul", { class: "receipt-warnings warning" });
  const examples = h("div", { class: "examples" });
  const element = h("section", { class: "panel row-panel", "aria-labelledby": "row-title" },
    h("div", { class: "panel-head" }, title, h("p", { class: "row-note quiet" }, "← → or k j: the row before or after")),
    h("div", { class: "row-controls" }, previous, next,
      h("form", { class: "row-form", onsubmit: goToNumber },
        h("label", { for: "row-number" }, "Go to row"), number, h("button", { class: "button", type: "submit" }, "Go")),
      h("label", { class: "switch-label", for: "token-borders" }, borders, "Token borders")),
    problem, facts, losses,
    h("p", { class: "row-note quiet" }, h("mark", { class: "counted" }, "Underlined text"), " is what the loss counts."), examples);
  document.addEventListener("keydown", onKey);

  async function go(place, side = "next") {
    const mine = ++turn;
    problem.hidden = true;
    element.setAttribute("aria-busy", "true");
    setText(title, place ? `Row ${place.row} …` : "The first row …");
    let row = null;
    try {
      row = await store.load(place);
    } catch (error) {
      if (error.name === "AbortError" || mine !== turn) return;
      setText(title, shown ? titleOf(shown) : "Row");
      element.removeAttribute("aria-busy");
      fail(error);
      throw error;
    }
    if (mine !== turn) return;
    shown = row;
    element.removeAttribute("aria-busy");
    draw();
    announce(titleOf(row));
    onShown(row);
    store.prepare(row, side);
  }

  function fail({ message }) {
    problem.hidden = false;
    setText(problem, message);
  }

  function draw() {
    setText(title, titleOf(shown));
    previous.disabled = !shown.previous;
    next.disabled = !shown.next;
    number.value = shown.row;
    replace(facts, factsOf(shown).map(([name, value]) => h("li", null, h("span", null, name), h("b", null, value))));
    replace(losses, lossesOf(shown).map((loss) => h("li", null, `Warning: ${loss}`)));
    losses.hidden = !losses.children.length;
    drawExamples();
  }

  function drawExamples() {
    if (!shown) return;
    const count = shown.examples.length;
    replace(examples, count === 0
      ? h("p", { class: "empty" }, "This row is dropped: the model sees nothing of it.")
      : shown.examples.map(({ tokens }, place) => [
        count > 1 && h("h3", null, `Example ${place + 1} of ${count}: ${sizeOf(tokens)}`),
        h("pre", { class: "log example", dir: "auto", tabindex: "0", "aria-label": `Text of example ${place + 1}` },
          drawTokens(tokens, borders.checked))]));
  }

  function step(side) {
    const beside = shown?.[side];
    if (beside) go(beside, side).catch(() => {}); // the panel says why
  }

  function goToNumber(event) {
    event.preventDefault();
    const row = Number(number.value.trim());
    if (Number.isSafeInteger(row) && row > 0) return void go({ row }).catch(() => {});
    fail({ message: `Type the number of a row, such as 17: ${JSON.stringify(number.value)} is none.` });
  }

  function onKey(event) {
    const side = KEYS[event.key];
    if (!side || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPED_IN)) return;
    event.preventDefault();
    step(side);
  }

  function close() {
    document.removeEventListener("keydown", onKey);
    store.close();
  }

  return { element, go, fail, close };
}

function titleOf({ row, isHeldOut }) {
  return `Row ${row}${isHeldOut ? ", held out" : ""}`;
}

function factsOf({ format, isHeldOut, examples }) {
  const tokens = examples.flatMap((example) => example.tokens);
  return [
    ["Format", format],
    ["Used for", isHeldOut ? "evaluation: held out" : "training"],
    ["Examples", figure(examples.length)],
    ["Tokens", figure(tokens.length)],
    ["Counted by the loss", figure(countedOf(tokens))],
  ];
}

function lossesOf({ cutTokens, maxLength, maxLengthReason, leftOut, examples }) {
  const losses = [];
  const reason = maxLengthReason ? ` (${maxLengthReason})` : "";
  if (cutTokens) losses.push(`too long for max_length ${figure(maxLength)}${reason}: ${many(cutTokens, "token")} left out`);
  if (leftOut.length) losses.push(`left out by the chat template: ${leftOut.join(", ")}`);
  if (examples.length && !countedOf(examples.flatMap(({ tokens }) => tokens))) losses.push("the loss counts no token of this row");
  return losses;
}

function sizeOf(tokens) {
  return `${many(tokens.length, "token")}, ${figure(countedOf(tokens))} counted`;
}

function countedOf(tokens) {
  return tokens.filter(({ counted }) => counted).length;
}
