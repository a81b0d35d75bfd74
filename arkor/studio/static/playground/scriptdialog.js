// A script to take along: it is copied, and shown in case the browser does not let it be.

import { h, setText } from "../dom.js";

/** Copy a script and show it in a dialog of the browser's own. */
export async function showScript(script, announce) {
  const note = h("p", { id: "script-note" });
  const code = h("pre", { class: "script", tabindex: "0", "aria-label": "Script" }, script);
  const again = h("button", { class: "button", type: "button", onclick: copy }, "Copy");
  const close = h("button", { class: "button button-primary", type: "button", autofocus: true, onclick: () => dialog.close() }, "Close");
  const dialog = h("dialog", { class: "dialog script-dialog", "aria-labelledby": "script-title", "aria-describedby": "script-note" },
    h("h2", { id: "script-title" }, "The same in Python"), note, code,
    h("div", { class: "dialog-buttons" }, again, close));
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    before?.focus?.();
  });
  document.getElementById("main").append(dialog);
  dialog.showModal();
  await copy();

  async function copy() {
    try {
      await navigator.clipboard.writeText(script);
      setText(note, "Copied. Run it in the project's folder.");
      announce("Copied.");
    } catch {
      setText(note, "The browser does not let this page copy: mark the script and copy it yourself.");
    }
  }
}
