// How far the preparing of a job's rows is: a bar and the time left, until the training starts.

import { h, setText } from "../dom.js";
import { capital, duration } from "../format.js";

const TITLES = { reading: "reading the rows", tokenizing: "tokenizing the rows" };

/** The bar: `take(event)` for each event of the job, `end()`, `element`. It is hidden while nothing is prepared. */
export function createPreparing() {
  const bar = h("progress", { "aria-label": "Preparing" });
  const text = h("p");
  const element = h("div", { class: "preparing", hidden: true }, text, bar);
  let phase = null;
  let first = null;

  function take(event) {
    if (event.type !== "training.preparing") return end();
    if (event.phase !== phase) first = event;
    phase = event.phase;
    const share = event.total > 0 ? Math.min(1, event.done / event.total) : null;
    element.hidden = false;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    const name = TITLES[phase] ?? (String(phase ?? "") || "preparing");
    const parts = share === null ? [] : [`${Math.round(100 * share)} %`, left(event)];
    setText(text, [capital(name), ...parts].filter(Boolean).join(" · "));
  }

  // By the backend's clock, since events may come late.
  function left(event) {
    const pace = (event.done - first.done) / (Date.parse(event.timestamp) - Date.parse(first.timestamp));
    return pace > 0 && Number.isFinite(pace) ? `${duration((event.total - event.done) / pace)} left` : "";
  }

  function end() {
    phase = null;
    element.hidden = true;
  }

  return { take, end, element };
}
