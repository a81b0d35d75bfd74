// The conversation as it is seen: questions, and the answers beneath them, one or two beside each other.

import { h, replace, setText } from "../dom.js";
import { pretty, readJson } from "./jsontext.js";

const NEAR_PX = 24;

/** The box of the conversation. It stays at its end while answers grow, unless somebody scrolled up to read. */
export function createTurns() {
  const list = h("ol", { class: "turns" });
  const box = h("div", { class: "conversation", role: "region", "aria-label": "Conversation", tabindex: "0" }, list);
  let following = true;
  let top = 0;
  box.addEventListener("scroll", () => {
    // Text that came since the last scroll may have made the end far: going up alone is the reader's wish.
    following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX || (following && box.scrollTop >= top);
    top = box.scrollTop;
  }, { passive: true });
  const follow = () => {
    if (!following) return;
    box.scrollTop = box.scrollHeight;
    top = box.scrollTop;
  };
  const sizes = new ResizeObserver(follow);
  sizes.observe(box);
  sizes.observe(list);

  return {
    element: box,
    /** Show a turn at the end; returns what shows its answers: `answer(place)`, and `remove()`. */
    add(turn, retry) {
      const views = turn.answers.map(createAnswer);
      const again = h("button", { class: "button button-small button-quiet", type: "button", hidden: true,
        onclick: retry }, "Retry");
      const element = h("li", { class: "turn" },
        h("div", { class: "question" }, h("span", { class: "visually-hidden" }, "You: "), turn.question),
        h("div", { class: views.length > 1 ? "answers answers-two" : "answers" }, views.map((view) => view.element)),
        h("div", { class: "turn-foot" }, again));
      list.append(element);
      following = true;
      follow();
      return {
        draw: (place) => views[place].draw(),
        offerRetry(offered) { again.hidden = !offered; },
        remove: () => element.remove(),
      };
    },
    clear: () => replace(list),
    close: () => sizes.disconnect(),
  };
}

function createAnswer(answer) {
  const reasoning = document.createTextNode("");
  const reasoningBox = h("details", { class: "answer-reasoning quiet" }, h("summary", null, "Reasoning"),
    h("div", { class: "reasoning-text" }, reasoning));
  const text = document.createTextNode("");
  const body = h("div", { class: "answer-text" }, text);
  const waiting = h("span", { class: "waiting quiet" }, "…");
  const trouble = h("p", { class: "problem answer-error" });
  const foot = h("p", { class: "answer-foot quiet" });
  const element = h("div", { class: "answer", role: "group", "aria-label": `Answer of ${answer.label}` },
    h("h2", { class: "answer-who" }, answer.label), reasoningBox, body, waiting, trouble, foot);
  let frame = null;

  function paint() {
    frame = null;
    const streaming = answer.state === "streaming";
    const json = streaming ? null : readAsJson(answer);
    grow(text, json?.good ? pretty(answer.text) : answer.text);
    grow(reasoning, answer.reasoning ?? ""); // an answer that an earlier page kept has none
    reasoningBox.hidden = !answer.reasoning;
    body.classList.toggle("code", Boolean(json?.good));
    body.hidden = !answer.text;
    element.setAttribute("aria-busy", String(streaming));
    waiting.hidden = !streaming;
    setText(trouble, answer.error ?? "");
    trouble.hidden = !answer.error;
    replace(foot, marks(answer, json), streaming ? null : figures(answer));
  }

  paint();
  return { element, draw() {
    if (answer.state === "streaming") frame ??= requestAnimationFrame(paint);
    else {
      cancelAnimationFrame(frame);
      paint();
    }
  } };
}

function grow(node, text) {
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length)); // a selection stays
  else node.data = text;
}

// An answer that was to be JSON says whether it is; any other that happens to be is shown as such.
function readAsJson({ text, wantsJson }) {
  if (!text || (!wantsJson && !/^\s*[{[]/.test(text))) return null;
  const { error } = readJson(text);
  return error && !wantsJson ? null : { good: !error, error };
}

function marks({ state, finishReason, text }, json) {
  return [
    state === "stopped" && h("span", { class: "mark mark-warn" }, "stopped"),
    finishReason === "length" && h("span", { class: "mark mark-warn" }, "cut at max tokens"),
    json && h("span", { class: json.good ? "mark mark-good" : "mark mark-bad" }, json.good ? "valid JSON" : "not JSON"),
    json?.error && h("span", null, json.error),
    state === "done" && !text && h("span", null, "The model ended its answer without a text."),
  ];
}

function figures({ text, reasoning = "", tokens, madeBy, firstMs, totalMs }) {
  if (firstMs === null || firstMs === undefined) return null;
  const parts = [`${seconds(firstMs)} to the first token`];
  const spanS = ((totalMs ?? firstMs) - firstMs) / 1000;
  const characters = [...text, ...reasoning].length;
  if (tokens > 1 && spanS > 0.01) parts.push(`${rate((tokens - 1) / spanS)} tokens/s`, `${tokens} tokens`);
  else if (tokens !== null && tokens !== undefined) parts.push(`${tokens} ${tokens === 1 ? "token" : "tokens"}`);
  else if (spanS > 0.01) parts.push(`${rate(characters / spanS)} characters/s`, `${characters} characters`);
  if (madeBy) parts.push(madeBy);
  return h("span", { class: "figure" }, parts.join(" · "));
}

function seconds(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function rate(value) {
  return value >= 100 ? String(Math.round(value)) : value.toFixed(1);
}
