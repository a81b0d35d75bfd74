// The playground: trying what was trained, next to what it was made of.

import { letAnswer, messagesFor, newAnswer, recall, remember } from "./conversation.js";
import { h, replace, setText } from "../dom.js";
import { createPicker } from "./picker.js";
import { loadPrompt, sampleOf } from "./prompt.js";
import { pythonScript } from "./python.js";
import { createSampling } from "./sampling.js";
import { showScript } from "./scriptdialog.js";
import { addressOf, choiceOf, targetOf } from "./targets.js";
import { createTurns } from "./turns.js";

const WIDE = matchMedia("(min-width: 901px)");
const LONGEST_SAID = 600;

let last = { choice: null, compare: false }; // of this page: the way back from another view leads to it

export function mount(root, context, { query }) {
  const { api, about, announce, readdress } = context;
  const sample = sampleOf(query);
  const kept = sample ? { settings: { ...recall().settings, system: "" } } : recall(); // its prompt begins a conversation
  const turns = kept.turns ?? [];
  const given = choiceOf(query);
  const controllers = new Set();
  const shown = [];
  let mounted = true;

  const picker = createPicker(context, {
    choice: given ?? last.choice, compare: given ? query.get("compare") === "1" : last.compare, changed: onPicked,
  });
  const sampling = createSampling(kept.settings ?? {}, draw);
  const conversation = createTurns();
  const welcome = h("div", { class: "welcome" });
  const input = h("textarea", { class: "field", id: "play-input", rows: "2", placeholder: "Ask something",
    "aria-describedby": "play-keys play-blocked", value: kept.draft ?? "", onkeydown: onKey });
  const sendButton = h("button", { class: "button button-primary", type: "button", onclick: send }, "Send");
  const stopButton = h("button", { class: "button", type: "button", onclick: stop, hidden: true }, "Stop");
  const clearButton = h("button", { class: "button button-quiet", type: "button", onclick: clear }, "Clear");
  const pythonButton = h("button", { class: "button", type: "button", onclick: copyAsPython }, "Copy as Python");
  const filled = h("p", { class: "quiet", role: "status", hidden: true });
  const blocked = h("p", { class: "blocked warning", id: "play-blocked", role: "status" });
  root.append(
    h("div", { class: "view-head" }, h("h1", null, "Playground"), h("div", { class: "head-buttons" }, pythonButton, clearButton)),
    h("section", { class: "panel", "aria-label": "Model" }, picker.element),
    h("div", { class: "playground" },
      h("section", { class: "panel settings-panel", "aria-label": "Settings" },
        h("details", { class: "settings", open: WIDE.matches }, h("summary", null, "Settings"), sampling.element)),
      h("section", { class: "panel talk", "aria-label": "Chat" },
        h("div", { class: "conversation-frame" }, conversation.element, welcome),
        filled, blocked,
        h("div", { class: "composer" },
          h("label", { class: "visually-hidden", for: "play-input" }, "Your question"), input,
          h("div", { class: "composer-buttons" }, sendButton, stopButton)),
        h("p", { class: "keys quiet", id: "play-keys" }, "Enter sends, Shift+Enter begins a new line"))),
  );
  turns.forEach(show);
  addEventListener("pagehide", save);
  const leave = [about.subscribe(() => draw()), picker.close, conversation.close, () => removeEventListener("pagehide", save)];
  picker.start();
  if (sample) fill();

  async function fill() {
    say("The prompt is being loaded …");
    try {
      const prompt = await loadPrompt(api, sample);
      if (!mounted) return;
      sampling.system = prompt.system;
      input.value = prompt.question;
      turns.push(...prompt.turns);
      prompt.turns.forEach(show);
      say(prompt.isWhole ? "" : "A part of the prompt has no place here and is left out.");
      draw();
      input.focus(); // on a narrow page it is far below
    } catch (error) {
      say(`The prompt cannot be loaded: ${error.message}`);
    }
  }

  function say(text) {
    filled.hidden = text === "";
    setText(filled, text);
  }

  function onPicked() {
    last = { choice: picker.choice, compare: picker.compare };
    if (picker.choice) readdress(addressOf(picker.choice, picker.compare));
    draw();
  }

  /** Why a question cannot be asked, or null; what concerns the choice stands beside it. */
  function problem() {
    return about.lacks("inference") ?? picker.problem ?? sampling.problem;
  }

  function draw() {
    const busy = controllers.size > 0;
    const why = problem();
    setText(blocked, about.lacks("inference") ?? (picker.problem ? "" : sampling.problem ?? ""));
    input.disabled = about.lacks("inference") !== null;
    sendButton.hidden = busy;
    sendButton.disabled = why !== null;
    stopButton.hidden = !busy;
    clearButton.disabled = turns.length === 0;
    pythonButton.disabled = !(picker.choice?.job || picker.choice?.model) || sampling.problem !== null;
    welcome.hidden = turns.length > 0;
    drawWelcome();
    shown.forEach((view, place) => view.offerRetry(!busy && why === null && place === shown.length - 1));
  }

  function drawWelcome() {
    const kind = about.lacks("inference") ? "lacking" : picker.empty && !picker.choice?.model ? "empty" : "ready";
    if (welcome.dataset.kind === kind) return;
    welcome.dataset.kind = kind;
    replace(welcome, WELCOME[kind]());
  }

  function show(turn) {
    shown.push(conversation.add(turn, retry));
  }

  function onKey(event) {
    if (event.key === "Escape" && controllers.size) stop();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  }

  function send() {
    const question = picker.isRaw ? input.value : input.value.trim(); // a plain text may end with a line break
    input.focus();
    if (!question.trim() || controllers.size) return;
    if (problem()) {
      announce(problem());
      return;
    }
    input.value = "";
    put(question);
  }

  function put(question) {
    const wantsJson = Boolean(sampling.options.responseFormat);
    const choices = asked();
    const questions = choices.map(({ choice }, place) => ({
      ...targetOf(choice), ...contentOf(turns, place, question), ...sampling.options, stream: true,
    }));
    const turn = { question, answers: choices.map(({ label }) => newAnswer(label, wantsJson)) };
    turns.push(turn);
    show(turn);
    const view = shown.at(-1);
    Promise.all(turn.answers.map((answer, place) => answered(answer, questions[place], () => view.draw(place)))).then(() => {
      if (mounted) announce(turn.answers.map(spoken).join(" "));
    });
    draw();
    save();
  }

  async function answered(answer, question, onChange) {
    const controller = new AbortController();
    controllers.add(controller);
    await letAnswer(api, question, answer, { controller, onChange });
    controllers.delete(controller);
    if (!mounted) return;
    draw();
    save();
  }

  /** What is asked: a plain text, or a conversation that ends with the question. */
  function contentOf(before, place, question) {
    return picker.isRaw ? { prompt: question } : { messages: messagesFor(before, place, sampling.system, question) };
  }

  /** Who is to answer: the choice, and beside it the model that it was made of. */
  function asked() {
    const all = [{ choice: picker.choice, label: picker.label(picker.choice) }];
    if (picker.compare) all.push({ choice: { model: picker.base }, label: `${picker.base}, base model` });
    return all;
  }

  function stop() {
    controllers.forEach((controller) => controller.abort());
    input.focus();
  }

  function retry() {
    const { question } = turns.pop();
    shown.pop().remove();
    put(question);
    input.focus();
  }

  function clear() {
    stop();
    turns.length = shown.length = 0;
    conversation.clear();
    draw();
    save();
  }

  function copyAsPython() {
    const draft = input.value.trim();
    const before = draft || !turns.length ? turns : turns.slice(0, -1);
    const question = draft || turns.at(-1)?.question || "Hello!";
    const { local, baseUrl } = about.value ?? {};
    showScript(pythonScript(
      local ? "local" : baseUrl ?? "https://api.arkor.ai",
      asked().map(({ choice, label }, place) => ({
        comment: label, ...targetOf(choice), ...contentOf(before, place, question),
      })),
      sampling.options,
    ), announce);
  }

  function save() {
    remember({ turns, settings: sampling.state, draft: input.value });
  }

  return () => {
    save();
    mounted = false;
    controllers.forEach((controller) => controller.abort());
    leave.forEach((end) => end());
  };
}

const WELCOME = {
  ready: () => h("p", null, "Ask something. Each answer says who gave it, and how fast."),
  lacking: () => [
    h("p", { class: "welcome-title" }, "This backend does not run models"),
    h("p", null, "The one that comes with arkor does: start Studio with ", h("code", null, "arkor dev --local"), "."),
  ],
  empty: () => [
    h("p", { class: "welcome-title" }, "Nothing to talk to yet"),
    h("p", null, "Train something on ", h("a", { href: "#/" }, "Home"), ": its checkpoints and its final adapter appear here."),
    h("p", null, "Or fetch a base model: ", h("code", null, "arkor models pull smollm2-135m")),
  ],
};

// What is said to people who listen, once, when an answer has ended.
function spoken({ label, state, text, error }) {
  if (state === "failed") return `${label}: ${error}`;
  const said = text.length > LONGEST_SAID ? `${text.slice(0, LONGEST_SAID)} …` : text;
  return `${label} ${state === "stopped" ? "was stopped" : "answered"}: ${said}`;
}
