// The bar at the top: where to go, who one is, and how the backend does.

import { h, replace, setAttribute, setText } from "./dom.js";

const VIEWS = [
  { nav: "home", href: "#/", label: "Home" },
  { nav: "jobs", href: "#/jobs", label: "Jobs" },
  { nav: "playground", href: "#/playground", label: "Playground", feature: "inference" },
];

const FEATURES = { inference: "Playground", artifacts: "Files of a job", models: "List of models" };

const MODES = { anon: "Anonymous", oauth: "Account", token: "ARKOR_TOKEN" };

/** Fill the header. `show(nav)` marks the view that is open. */
export function mountHeader(root, { about }) {
  const links = VIEWS.map(({ nav, href, label, feature }) => {
    const note = h("span", { class: "nav-note", hidden: true }, "not on this backend");
    return { nav, feature, note, link: h("a", { class: "nav-link", href }, label, note) };
  });
  const dot = h("span", { class: "dot", "aria-hidden": "true" });
  const host = h("span", { class: "backend-host" });
  const state = h("span", { class: "backend-state" });
  const identity = h("span", { class: "backend-identity" });
  const details = h("div", { class: "backend-details" });
  const backend = h("details", { class: "backend" },
    h("summary", null, dot, h("span", { class: "backend-text" }, host, state, identity)), details);
  root.append(
    h("a", { class: "brand", href: "#/" }, mark(), h("span", null, "arkor ", h("b", null, "Studio"))),
    h("nav", { "aria-label": "Views" }, links.map(({ link }) => link)),
    backend,
  );
  closeWhenLeft(backend);
  let known = null;
  about.subscribe(({ data, error }) => {
    const now = JSON.stringify([data, error?.message]);
    if (now === known) return; // what somebody marks in the details stays marked
    known = now;
    const trouble = error?.message ?? data?.error ?? null;
    const kind = trouble ? "bad" : data ? "good" : "unknown";
    setAttribute(dot, "class", `dot dot-${kind}`);
    setText(host, data?.host ?? "Backend");
    setText(state, kind === "bad" ? "cannot be reached" : kind === "good" ? "" : "asking …");
    setText(identity, data ? whoami(data) : "");
    replace(details, data && facts(data, about), trouble && h("p", { class: "problem" }, trouble));
    for (const { link, note, feature } of links) grey(link, note, feature ? about.lacks(feature) : null);
  });
  return {
    show(nav) {
      for (const entry of links) setAttribute(entry.link, "aria-current", entry.nav === nav ? "page" : null);
    },
  };
}

function whoami({ mode, org, project }) {
  const place = [org, project].filter(Boolean).join(" / ");
  return place || (mode ? MODES[mode] ?? mode : "No identity yet");
}

function facts(data, about) {
  const rows = [
    ["Backend", data.backend ?? (data.features ? "Arkor Cloud" : "–")],
    ["Address", h("code", null, data.baseUrl)],
    ["Identity", data.mode ? MODES[data.mode] ?? data.mode : "none yet"],
    ["Organisation", data.org ?? "–"],
    ["Project", data.project ?? "none yet; the first run makes it"],
  ];
  const lacking = Object.entries(FEATURES).filter(([feature]) => about.lacks(feature));
  return [
    h("dl", { class: "facts" }, rows.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    lacking.length > 0 && h("ul", { class: "lacking" }, lacking.map(([feature, name]) =>
      h("li", null, h("b", null, name), ": ", about.lacks(feature)))),
  ];
}

function grey(link, note, reason) {
  note.hidden = reason === null;
  setAttribute(link, "aria-disabled", reason === null ? null : "true");
  setAttribute(link, "title", reason);
  link.onclick = reason === null ? null : (event) => event.preventDefault();
}

function closeWhenLeft(details) {
  addEventListener("hashchange", () => { details.open = false; });
  document.addEventListener("click", (event) => {
    if (!details.contains(event.target)) details.open = false;
  });
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  });
}

function mark() {
  return h("img", { src: "/static/favicon.svg", alt: "", width: "22", height: "22" });
}
