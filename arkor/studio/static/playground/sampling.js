// How a question is asked: what the model is told before, how it chooses its words, and the form of its answer.

import { h, setAttribute, setText } from "../dom.js";
import { field } from "../field.js";
import { readJson } from "./jsontext.js";

const EXAMPLE = {
  title: "triage",
  type: "object",
  properties: {
    category: { type: "string", enum: ["billing", "technical", "other"] },
    urgent: { type: "boolean" },
  },
  required: ["category", "urgent"],
  additionalProperties: false,
};

const NUMBERS = [
  { name: "temperature", label: "Temperature", step: "0.1", min: "0", hint: "0: not random", start: "0",
    check: (value) => (value >= 0 ? null : "a number, 0 or more") },
  { name: "topP", label: "Top-p", step: "0.05", min: "0", hint: "0 to 1", start: "",
    check: (value) => (value > 0 && value <= 1 ? null : "a number above 0, at most 1") },
  { name: "maxTokens", label: "Max tokens", step: "1", min: "1", hint: "longest answer", start: "",
    check: (value) => (value >= 1 && Number.isInteger(value) ? null : "a whole number, 1 or more") },
];

/** The settings. `given` are those of before; `changed()` is told of every change. */
export function createSampling(given, changed) {
  const system = h("textarea", { class: "field", id: "play-system", rows: "3", value: given.system ?? "",
    placeholder: "What the model is told before the conversation", oninput: draw });
  const numbers = NUMBERS.map((setting) => numberField(setting, given[setting.name] ?? setting.start, draw));
  const schema = schemaBox(given, draw);
  const element = h("div", { class: "sampling" },
    field("System prompt", system),
    h("div", { class: "numbers" }, numbers.map((number) => number.element)),
    schema.element);

  function draw() {
    numbers.forEach((number) => number.draw());
    schema.draw();
    changed();
  }

  numbers.forEach((number) => number.draw());
  schema.draw();
  return {
    element,
    get system() { return system.value.trim(); },
    set system(text) { system.value = text; },
    /** Why a question cannot be asked so, or null. */
    get problem() {
      return numbers.map(({ problem }) => problem).find(Boolean) ?? schema.problem;
    },
    /** The fields of a question; what is empty is not sent. */
    get options() {
      const given = numbers.filter(({ value }) => value !== null).map(({ name, value }) => [name, value]);
      return { ...Object.fromEntries(given), ...(schema.format ? { responseFormat: schema.format } : {}) };
    },
    /** What to remember. */
    get state() {
      return { system: system.value, ...Object.fromEntries(numbers.map(({ name, text }) => [name, text])), ...schema.state };
    },
  };
}

function numberField({ name, label, step, min, hint, check }, start, changed) {
  const below = h("span", { class: "hint quiet", id: `play-${name}-hint` }, hint);
  const input = h("input", { class: "field", id: `play-${name}`, type: "number", step, min, value: start, placeholder: "auto",
    inputmode: "decimal", "aria-describedby": below.id, oninput: changed });
  const number = {
    name,
    element: field(label, input, below),
    get text() { return input.value; },
    get value() { return input.value === "" ? null : Number(input.value); },
    get problem() {
      const wrong = input.validity.badInput ? "a number" : input.value === "" ? null : check(Number(input.value));
      return wrong && `${label} has to be ${wrong}.`;
    },
    draw() {
      const { problem } = number;
      setAttribute(input, "aria-invalid", problem ? "true" : null);
      below.classList.toggle("problem", Boolean(problem));
      setText(below, problem ?? hint);
    },
  };
  return number;
}

function schemaBox(given, changed) {
  const on = h("input", { class: "switch", type: "checkbox", id: "play-schema-on",
    checked: Boolean(given.schemaOn), onchange: changed });
  const text = h("textarea", { class: "field code", id: "play-schema", rows: "9", spellcheck: "false",
    value: given.schema ?? "", "aria-describedby": "play-schema-note", oninput: changed });
  const note = h("p", { class: "hint", id: "play-schema-note", role: "status" });
  const example = h("button", { class: "button button-small", type: "button", onclick: () => {
    text.value = JSON.stringify(EXAMPLE, null, 2);
    changed();
    text.focus();
  } }, "Example schema");
  const body = h("div", { class: "schema-body" },
    h("div", { class: "schema-head" }, h("label", { for: "play-schema" }, "JSON schema"), example), note, text);
  const box = {
    element: h("div", { class: "schema" }, h("label", { class: "switch-label" }, on, "Answer in JSON, by a schema"), body),
    get state() { return { schemaOn: on.checked, schema: text.value }; },
    get problem() { return on.checked ? schemaProblem(text.value) : null; },
    get format() {
      if (!on.checked || schemaProblem(text.value)) return null;
      const schema = JSON.parse(text.value);
      return { type: "json_schema", json_schema: { name: schemaName(schema), schema } };
    },
    draw() {
      const { problem } = box;
      body.hidden = !on.checked;
      note.className = problem ? "hint problem" : "hint quiet";
      setAttribute(text, "aria-invalid", problem ? "true" : null);
      setText(note, problem ?? "The answer is held to this schema while it is made.");
    },
  };
  return box;
}

function schemaProblem(text) {
  if (!text.trim()) return "The schema is empty: type one, or begin with the example.";
  const { value, error } = readJson(text);
  if (error) return `The schema is not JSON. ${error}`;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "The schema has to be a JSON object.";
  if (value.json_schema || (value.schema && value.name)) return 'Only what stands below "schema" belongs here.';
  return null;
}

function schemaName({ title }) {
  return String(title ?? "").replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 64) || "answer";
}
