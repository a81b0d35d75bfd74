// A conversation with one or two models: what was asked and answered, and what is sent for the next question.
// No elements here.

import { ApiError } from "../api.js";
import { ask } from "./chatstream.js";

const STORED = "arkor-playground";

/** An answer that is about to come. */
export function newAnswer(label, wantsJson) {
  return { label, wantsJson, state: "streaming", text: "", reasoning: "", error: null, finishReason: null,
    tokens: null, madeBy: null, firstMs: null, totalMs: null };
}

/** The messages that lead to a question, for the model at a place of each turn; what failed is left out. */
export function messagesFor(turns, place, system, question) {
  const messages = system ? [{ role: "system", content: system }] : [];
  for (const turn of turns) {
    const { text, reasoning, state } = turn.answers[place] ?? turn.answers[0];
    if (!text || state === "failed") continue;
    const before = reasoning ? { reasoning_content: reasoning } : {};
    messages.push({ role: "user", content: turn.question }, { role: "assistant", content: text, ...before });
  }
  return [...messages, { role: "user", content: question }];
}

/** Let an answer come; it ends "done", "stopped" or "failed". `onChange()` is told of every piece, and of the end. */
export async function letAnswer(api, question, answer, { controller, onChange }) {
  try {
    await ask(api, question, answer, { controller, onText: onChange });
    answer.state = "done";
  } catch (error) {
    answer.state = error.name === "AbortError" ? "stopped" : "failed";
    if (answer.state === "failed") answer.error = explained(error);
  }
  onChange();
}

// What to do about it, where the backend's own text does not say.
const ADVICE = {
  400: "Change the settings or the question, and retry.",
  401: "Log in again with: arkor login",
  403: "Log in with an account that may ask this model: arkor login",
  404: "Choose another one.",
  410: "Choose another one.",
  413: "Clear the conversation, or ask with less.",
  429: "Retry in a moment.",
  501: "Studio can talk to another backend: arkor dev --local",
  502: "Check that the backend runs, and retry.",
  503: "Retry in a moment.",
};

function explained(error) {
  if (!(error instanceof ApiError)) return `This page failed: ${error.message}`;
  const advice = ADVICE[error.status] ?? (error.status === 409 ? "" : "Retry.");
  const text = error.message.trim();
  return `${text}${/[.!?…]$/.test(text) ? "" : "."} ${advice}`.trim();
}

/** What this tab has kept: the settings, the conversation and the draft of the next question. */
export function recall() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(STORED)) ?? {};
    for (const answer of kept.turns?.flatMap(({ answers }) => answers) ?? []) {
      if (answer.state === "streaming") answer.state = "stopped";
    }
    return kept;
  } catch {
    return {};
  }
}

/** Keep it for a reload, and for the way back from another view. */
export function remember(state) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(state));
  } catch {
    sessionStorage.removeItem(STORED); // too long to be kept
  }
}
