// Asking before something is done that cannot be undone.

import { h } from "./dom.js";

/**
 * Ask, in a dialog of the browser's own: the focus stays in it, Escape means no.
 * `text` may be of several parts. Returns a promise of true where the user agreed. The safe answer has the focus.
 */
export function confirm({ title, text, yes, no = "Keep it" }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const refuse = h("button", { class: "button", type: "button", autofocus: true, onclick: () => dialog.close() }, no);
    const agree = h("button", { class: "button button-danger", type: "button", onclick: () => dialog.close("yes") }, yes);
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" },
      h("h2", { id: "dialog-title" }, title),
      h("p", { id: "dialog-text" }, text),
      h("div", { class: "dialog-buttons" }, refuse, agree));
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(dialog.returnValue === "yes");
    });
    document.getElementById("main").append(dialog);
    dialog.showModal();
  });
}
