// What a job has left: names, sizes, and how to have them.

import { h, replace, setText } from "../dom.js";
import { artifactsPath, createDownload } from "./download.js";
import { bytes } from "../format.js";

/** The panel: `refresh()` asks for the list, `offer(list)` takes what an event told of it; `onList` is told each. */
export function createArtifacts(context, jobId, onList) {
  const { api, about } = context;
  const count = h("h2", { id: "artifacts-title" }, "artifacts: 0");
  const list = h("ul", { class: "artifact-list" });
  const note = h("p", { class: "quiet" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const element = h("section", { class: "panel artifacts", "aria-labelledby": "artifacts-title", hidden: true },
    h("div", { class: "panel-head" }, count), problem, list, note);
  const download = createDownload(context, jobId, problem);
  let told = [];
  let isListed = false;
  let turn = 0;
  let shown = "";

  async function refresh() {
    const mine = ++turn;
    try {
      const { artifacts } = await api.get(artifactsPath(jobId));
      if (mine !== turn) return;
      isListed = true;
      told = artifacts;
    } catch (error) {
      if (mine !== turn) return;
      // What events told stays; a list that failed is asked for again with the next of them.
      setText(note, error.feature ? about.lacks("artifacts") ?? error.message : `Couldn't load the list: ${error.message}`);
    }
    draw();
  }

  function offer(artifacts) {
    const known = new Map(told.map((one) => [one.name, one]));
    for (const one of artifacts) if (one && typeof one.name === "string") known.set(one.name, { ...known.get(one.name), ...one });
    told = [...known.values()];
    draw();
  }

  function draw() {
    element.hidden = told.length === 0;
    setText(count, `artifacts: ${told.length}`);
    if (isListed) setText(note, "");
    const key = JSON.stringify([isListed, told.map(({ name, sizeBytes }) => [name, sizeBytes])]);
    if (key !== shown) replace(list, told.map((one) => h("li", null,
      h("code", { class: "artifact-name" }, one.name),
      h("span", { class: "quiet figure" }, typeof one.sizeBytes === "number" ? bytes(one.sizeBytes) : ""),
      isListed && h("button", { class: "button button-small", type: "button", "aria-label": `Download ${one.name}`,
        onclick: (event) => download(one.name, event.currentTarget) }, "Download"))));
    shown = key; // the same list is left alone, and with it the focus
    onList(told);
  }

  return { element, refresh, offer };
}
