// The settings of a job, in Python's names: those that were given, and the defaults of the others.

import { h, replace } from "../dom.js";
import { literal, snakeCase } from "../playground/python.js";
import { SETTINGS } from "./settings.js";

const SELF_HOSTED = "arkor-local"; // the backend whose defaults are known

/** The settings, folded: `update(config)`, `element`. */
export function createSettings(about) {
  const given = h("dl", { class: "settings-facts" });
  const defaults = h("dl", { class: "settings-facts" });
  const byDefault = h("div", { class: "settings-defaults" }, h("h2", null, "By default"), defaults);
  const element = h("details", { class: "settings", hidden: true }, h("summary", null, "Settings"), given, byDefault);
  let shown = "";

  function update(config) {
    const isKnown = about.value?.backend === SELF_HOSTED;
    const key = JSON.stringify([config, isKnown]);
    if (key === shown) return;
    shown = key;
    element.hidden = Object.keys(config).length === 0;
    const names = new Map(SETTINGS.map(({ wireName, name }) => [wireName, name]));
    const order = [...names.keys(), ...Object.keys(config).filter((wireName) => !names.has(wireName))];
    replace(given, order.filter((wireName) => wireName in config).map((wireName) => entry(names.get(wireName) ?? wireName, h("code", null, literal(inPython(wireName, config[wireName]))))));
    replace(defaults, SETTINGS.filter(({ wireName }) => !(wireName in config))
      .map(({ name, default: words, isValue }) => entry(name, isValue ? h("code", null, words) : words)));
    byDefault.hidden = !isKnown;
  }

  return { element, update };
}

// The names inside a setting are Python's, too, but for those that the user has chosen.
function inPython(wireName, value) {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject || wireName === "chatTemplateKwargs") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [snakeCase(name), one]));
}

function entry(name, value) {
  return h("div", null, h("dt", null, h("code", null, name)), h("dd", null, value));
}
