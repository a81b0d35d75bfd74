// Tabs: of several panels one is shown.

import { h, setAttribute } from "./dom.js";

/**
 * A row of tabs. Each is `{id, label, content}`; `selected` is the id of the first one shown; `chosen(id)` is told when
 * somebody has chosen another one. Arrow keys, Home and End go from tab to tab. `elements` are the row and the panels.
 */
export function createTabs(label, tabs, selected, chosen) {
  const buttons = tabs.map(({ id, label: text }) => h("button", { class: "tab", type: "button", role: "tab", id: `tab-${id}`,
    "aria-controls": `panel-${id}`, onclick: () => choose(id), onkeydown: (event) => step(event, id) }, text));
  const panels = tabs.map(({ id, content }) =>
    h("div", { class: "tab-panel", role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}` }, content));
  const bar = h("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons);

  function show() {
    tabs.forEach(({ id }, at) => {
      setAttribute(buttons[at], "aria-selected", String(id === selected));
      setAttribute(buttons[at], "tabindex", id === selected ? "0" : "-1");
      panels[at].hidden = id !== selected;
    });
  }

  function choose(id) {
    if (id === selected) return;
    selected = id;
    show();
    chosen(id);
  }

  function step(event, id) {
    const at = tabs.findIndex((tab) => tab.id === id);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    buttons[next].focus();
    choose(tabs[next].id);
  }

  show();
  return { elements: [bar, ...panels] };
}
