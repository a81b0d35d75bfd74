// Where the view of rows is in the page: of a job, or of the trainer that a run would start; with a row and a search.

import { h } from "../dom.js";

const WHOLE = /^[1-9]\d{0,14}$/;

/** Read an address: `{place, text, heldOut}`, the place `{row, isHeldOut?}` or null. What is broken is passed over. */
export function readAddress(query) {
  const row = query.get("row") ?? "";
  const held = query.get("held") === "1";
  return {
    place: WHOLE.test(row) ? { row: Number(row), ...(held ? { isHeldOut: true } : {}) } : null,
    text: query.get("q") ?? "",
    heldOut: query.get("only") === "held-out",
  };
}

/** The address of the rows of a job, or, without an id, of those that a run would train on. */
export function rowsHref(jobId, { place = null, text = "", heldOut = false } = {}) {
  const query = new URLSearchParams();
  if (place) query.set("row", place.row);
  if (place?.isHeldOut) query.set("held", "1");
  if (text) query.set("q", text);
  if (heldOut) query.set("only", "held-out");
  const path = jobId === null ? "#/data" : `#/jobs/${encodeURIComponent(jobId)}/data`;
  return query.size ? `${path}?${query}` : path;
}

/** A link to a row. The view of these rows goes there without being loaded again. */
export function rowLink(jobId, { row, isHeldOut = false }, ...text) {
  return h("a", { href: rowsHref(jobId, { place: { row, isHeldOut } }), "data-row": row, "data-held-out": isHeldOut }, text);
}

/** The place that a link of `rowLink` leads to. */
export function placeOf({ dataset }) {
  return { row: Number(dataset.row), ...("heldOut" in dataset ? { isHeldOut: true } : {}) };
}
