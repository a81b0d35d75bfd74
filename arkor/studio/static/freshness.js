// A line that says when what is shown is old, and why.

import { h, replace } from "./dom.js";

/** A stale notice for a feed: `update(feedState)`. Hidden while all is well. */
export function createFreshness(what) {
  const element = h("p", { class: "stale", role: "status", hidden: true });
  let shown = "";
  return { element, update({ data, error, loadedAt, slow }) {
    const since = loadedAt ? ` Shown is what it was at ${new Date(loadedAt).toLocaleTimeString()}.` : "";
    let text = "";
    if (error) text = `Couldn't ${data ? "refresh" : "load"} ${what}: ${sentence(error.message)}${since} Studio keeps trying.`;
    else if (slow) text = `The backend takes its time to answer.${since}`;
    if (text === shown) return;
    shown = text;
    element.hidden = text === "";
    replace(element, text);
  } };
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
