// What concerns the whole page: Studio's own server is gone, or is not the one this page came from.

import { h, replace } from "./dom.js";

const TRY_AGAIN_MS = 3000;

export function mountNotices(root, { api, about }) {
  let timer = null;
  api.onStudio((studio) => {
    clearInterval(timer);
    if (studio === "ok") replace(root);
    else if (studio === "other") replace(root, startedAnew());
    else {
      replace(root, h("p", { class: "notice notice-bad" },
        "Studio has stopped answering. Start it again with ", h("code", null, "arkor dev"),
        "; what you see stays here meanwhile."));
      timer = setInterval(() => document.hidden || about.refresh(), TRY_AGAIN_MS);
    }
  });
}

function startedAnew() {
  return h("p", { class: "notice notice-bad" },
    "Studio was started anew, and this page belongs to the one before. ",
    h("button", { class: "button button-small", onclick: () => location.reload() }, "Load the page again"));
}
