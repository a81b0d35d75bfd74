// Trying a model.

import { h } from "./dom.js";

export function mount(root, context, params) {
  root.append(h("h1", null, "Playground"));
  return () => {};
}
