// Figures of a report as words. They are those of arkor/evaluation/parts.py; a test compares them.

import { figure, many } from "../format.js";

/** A share in per cent: `12 %`. */
export function percent(share) {
  return `${hundredths(share)} %`;
}

/** A difference in points of a hundred, with its sign: `+31`. */
export function points(share) {
  const value = hundredths(share);
  return value >= 0 ? `+${value}` : `${value}`;
}

/** The ends of an interval in points of a hundred: `22 to 40`. */
export function interval({ low, high }) {
  return `${hundredths(low)} to ${hundredths(high)}`;
}

/** What the verdict is about: the first score, of the adapter if it is among the candidates. */
export function mainComparison(scores) {
  const found = scores[0]?.comparisons ?? [];
  return found.find(({ candidate }) => candidate === "adapter") ?? found[0] ?? null;
}

/** `better`, `worse` or `same`: what a comparison looks like. */
export function kindOf(comparison) {
  return ["better", "worse"].includes(comparison?.verdict) ? comparison.verdict : "same";
}

/** Whether the adapter that answers is the one that was trained. */
export function checkWords({ served, trained, tokens, isSame, cause }) {
  const losses = `loss ${loss(served)} served, ${loss(trained)} trained (${many(Number(tokens) || 0, "token")})`;
  return isSame ? `served is trained: ${losses}` : `the served adapter is not the trained one: ${losses}; ${cause ?? ""}`;
}

/** How many rows were asked: `50 of 80 held-out rows of rows.jsonl`. */
export function askedWords({ asked, available, isHeldOut, source }) {
  const of = source ? ` of ${source}` : "";
  return `${figure(Number(asked) || 0)} of ${figure(Number(available) || 0)} ${isHeldOut ? "held-out rows" : "rows"}${of}`;
}

function loss(value) {
  return typeof value === "number" ? value.toFixed(4) : "–";
}

// A half is rounded to the even number, as Python does.
function hundredths(share) {
  if (typeof share !== "number") return "–";
  const value = 100 * share;
  const rounded = Math.round(value);
  const even = Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
  return even === 0 ? 0 : even; // no minus before a zero
}
