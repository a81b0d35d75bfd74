// A control below its label.

import { h } from "./dom.js";

/** Put a control below its label, and more below the control. */
export function field(label, control, ...below) {
  return h("div", { class: "field-block" }, h("label", { for: control.id }, label), control, below);
}
