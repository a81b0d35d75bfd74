// One job: its status, its chart, its events.

import { h } from "./dom.js";

export function mount(root, context, params) {
  root.append(h("h1", null, params.id));
  return () => {};
}
