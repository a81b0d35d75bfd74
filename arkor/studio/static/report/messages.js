// What was asked and answered, as text: nothing of it can become part of the page.

import { h, replace, setText } from "../dom.js";
import { visible } from "../data/rowtext.js";
import { figure } from "../format.js";

const MOST_CHARS = 600;
const MOST_LINES = 12;

/**
 * A text; one that is longer than so many characters or lines is folded, with a button that shows all of it. It stands in
 * `body`; `parts(text)` makes of it what is shown there.
 */
export function createText(text, { chars = MOST_CHARS, lines = MOST_LINES, body = h("div", { class: "said" }), parts = (part) => part } = {}) {
  const shown = visible(text);
  const short = shorten(shown, chars, lines);
  replace(body, parts(short));
  if (short === shown) return body;
  let isWhole = false;
  const more = `Show all ${figure(shown.length)} characters`;
  const button = h("button", { class: "button button-small", type: "button", "aria-expanded": "false", onclick() {
    isWhole = !isWhole;
    replace(body, parts(isWhole ? shown : short));
    setText(button, isWhole ? "Show less" : more);
    button.setAttribute("aria-expanded", String(isWhole));
  } }, more);
  return h("div", { class: "folded" }, body, button);
}

/** The content of a message as one text. */
export function contentOf({ content }) {
  if (typeof content === "string") return content;
  return Array.isArray(content) ? content.map((part) => (typeof part?.text === "string" ? part.text : "")).join("") : "";
}

/** Function calls in chat completions form, each as a text. */
export function callsOf(calls) {
  return (Array.isArray(calls) ? calls : []).map((call) => {
    const { name, arguments: given } = call?.function ?? call ?? {};
    return `${name ?? "–"}(${typeof given === "string" ? given : JSON.stringify(given ?? {})})`;
  });
}

/** A text and calls as elements; `nothing` is said where there is neither. */
export function createSaid(text, calls, nothing) {
  const parts = [...(text ? [createText(text)] : []), ...callsOf(calls).map((call) => h("code", { class: "call" }, createText(call)))];
  return parts.length ? parts : h("span", { class: "quiet" }, nothing);
}

function shorten(text, chars, most) {
  const lines = text.split("\n", most).join("\n");
  const cut = lines.length > chars ? lines.slice(0, chars).replace(/[\ud800-\udbff]$/, "") : lines;
  return cut === text ? text : `${cut}…`;
}
