// The last events of a job as sentences, each with its JSON on demand.

import { h } from "../dom.js";
import { sentenceOf } from "./sentence.js";
import { createTail } from "../tail.js";

const MOST_LINES = 500;

/**
 * The log: `add(event, total)` with the number of steps, if that is known; `note(text)` for a line of the page's own;
 * `clear()`, `close()`, `element`, and `json`, a switch that shows the JSON of all events. A click on a line shows that of one.
 */
export function createEventLog() {
  const { element, box, changed, close } = createTail({ label: "Event log", empty: "No events yet.", unknown: "Loading …", draw });
  const all = h("input", { type: "checkbox", class: "switch", onchange: showAll });
  let lines = [];
  let waiting = [];

  function add(event, total) {
    put({ event, total });
  }

  function note(text) {
    put({ text });
  }

  // Of many events that come at once, most are never shown.
  function put(line) {
    waiting.push(line);
    if (waiting.length > 2 * MOST_LINES) waiting = waiting.slice(-MOST_LINES);
    changed();
  }

  function draw() {
    const added = waiting.slice(-MOST_LINES);
    lines = [...lines, ...added].slice(-MOST_LINES);
    waiting = [];
    box.append(...added.map(shown));
    while (box.childNodes.length > MOST_LINES) box.firstChild.remove();
    return lines.length === 0;
  }

  function shown({ text, event, total }) {
    if (!event) return h("div", { class: "line line-lost" }, text);
    const json = h("div", { class: "line-json" });
    const line = h("details", { class: `line line-${event.type.split(".").at(-1)}`, open: all.checked, ontoggle: fill },
      h("summary", { tabindex: "-1" }, sentenceOf(event, total)), json); // the switch is for the keyboard: 500 stops are too many
    function fill() {
      if (line.open && !json.firstChild) json.textContent = jsonOf(event);
    }
    fill();
    return line;
  }

  // The line that somebody reads stays where it is.
  function showAll() {
    const top = box.getBoundingClientRect().top;
    const place = [...box.children].findIndex((line) => line.getBoundingClientRect().bottom > top);
    const before = box.children[place]?.getBoundingClientRect().top;
    box.replaceChildren(...lines.map(shown));
    if (place >= 0) box.scrollTop += box.children[place].getBoundingClientRect().top - before;
  }

  function clear() {
    lines = [];
    waiting = [];
    box.replaceChildren();
    changed();
  }

  return { element, add, note, clear, close, json: h("label", { class: "switch-label" }, all, "Raw JSON") };
}

function jsonOf({ id: _, ...event }) {
  return JSON.stringify(event, null, 2);
}
