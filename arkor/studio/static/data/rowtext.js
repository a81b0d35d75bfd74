// The text of an example, with what the loss counts. Whatever a row says is text: it cannot become part of the page.

import { h } from "../dom.js";

const MOST_BORDERS = 5000; // tokens with a border of their own: a page with many more gets slow
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g; // they would turn the text around them, too
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** A text as it can be seen: characters that draw nothing, or turn others around, have a sign in their place. */
export function visible(text) {
  return text
    .replace(CONTROLS, (char) => (char < "\u0020" ? String.fromCodePoint(0x2400 + char.codePointAt(0)) : codeOf(char)))
    .replace(DIRECTIONS, codeOf);
}

/** The text in as few parts as possible, `{text, counted}`. */
export function partsOf(tokens) {
  const parts = [];
  for (const { text, counted } of tokens) {
    if (parts.at(-1)?.counted === counted) parts.at(-1).text += text;
    else parts.push({ text, counted });
  }
  return parts;
}

/** The example as elements; `borders` shows where each token begins and ends. */
export function drawTokens(tokens, borders) {
  if (!borders) return partsOf(tokens).map(drawPart);
  const shown = tokens.slice(0, MOST_BORDERS);
  const rest = partsOf(tokens.slice(MOST_BORDERS)).map(drawPart);
  return [...shown.map(({ id, text, counted }) => h(counted ? "mark" : "span",
    { class: counted ? "counted token" : "token", title: `Token ${id}` }, visible(text))), ...rest];
}

function drawPart({ text, counted }) {
  return counted ? h("mark", { class: "counted" }, visible(text)) : visible(text);
}

function codeOf(char) {
  return `⟨U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}
