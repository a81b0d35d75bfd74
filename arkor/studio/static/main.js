// The shell: which view belongs to the address, and what every view is handed.

import { api } from "./api.js";
import { createAbout } from "./about.js";
import { h, replace } from "./dom.js";
import { createJobList } from "./jobs/joblist.js";
import { mountHeader } from "./header.js";
import { mountNotices } from "./notices.js";

const READDRESS_EVERY_MS = 400; // browsers ignore a page that changes its address many times in a row

const ROUTES = [
  { path: /^\/$/, nav: "home", title: "Home", load: () => import("./home/home.js") },
  { path: /^\/jobs$/, nav: "jobs", title: "Jobs", load: () => import("./jobs/jobs.js") },
  { path: /^\/jobs\/(?<id>[^/]+)$/, nav: "jobs", title: "Job", load: () => import("./job/job.js") },
  { path: /^\/jobs\/(?<id>[^/]+)\/data$/, nav: "jobs", title: "Rows", load: () => import("./data/data.js") },
  { path: /^\/data$/, nav: "home", title: "Rows", load: () => import("./data/data.js") },
  { path: /^\/playground$/, nav: "playground", title: "Playground", load: () => import("./playground/playground.js") },
];

const main = document.getElementById("main");
const announcer = document.getElementById("announcer");
const about = createAbout(api);
const context = {
  api,
  about,
  /** The project's jobs, shared by every view, so that one that opens has a list at once. */
  jobs: createJobList(api),
  /** Go to another address of the page, such as "#/jobs". */
  navigate(hash) {
    putAddress();
    fresh = true;
    location.hash = hash;
  },
  /** Let the address say what the view shows by now. It stays the same view, and the same entry of the history. */
  readdress(hash) {
    wanted = hash;
    if (pausing === null) putAddress();
  },
  /** Say something to people who listen to the page. */
  announce(text) {
    announcer.textContent = "";
    requestAnimationFrame(() => { announcer.textContent = text; });
  },
  /** Name the view in the window's title. */
  title(text) {
    document.title = `${text} · arkor Studio`;
  },
};

const scrolls = new Map();
const header = mountHeader(document.getElementById("header"), context);
let unmount = () => {};
let first = true;
let fresh = true; // the address was chosen, not come back to
let settled = false;
let turn = 0;
let address = location.hash; // of the view that is shown
let wanted = null; // the address that it asked for since
let pausing = null;

/** Take an address apart: `{route, params: {id?, query}}`; an unknown one has no route. */
function parse(hash) {
  const [path, search = ""] = (hash.replace(/^#/, "") || "/").split("?");
  const query = new URLSearchParams(search);
  for (const route of ROUTES) {
    const match = route.path.exec(path.length > 1 ? path.replace(/\/$/, "") : path);
    if (!match) continue;
    try {
      return { route, params: { id: match.groups?.id && decodeURIComponent(match.groups.id), query } };
    } catch {
      break; // a stray per cent sign
    }
  }
  return { route: null, params: { query } };
}

async function show() {
  const hash = location.hash;
  const mine = ++turn;
  const { route, params } = parse(hash);
  let view = { mount: mountUnknown };
  try {
    if (route) view = await route.load();
  } catch {
    view = { mount: mountBroken };
  }
  if (mine !== turn) return; // somebody went on while the view was loading
  unmount();
  address = hash;
  wanted = null;
  replace(main);
  header.show(route?.nav ?? null);
  context.title(route?.title ?? "Not found");
  unmount = view.mount(main, context, params) ?? (() => {});
  if (!first) settle(hash);
  first = fresh = false;
  settled = true;
}

function putAddress() {
  clearTimeout(pausing);
  pausing = null;
  // Not where somebody is on the way to another view: the address is that one's by then.
  if (wanted === null || wanted === address || location.hash !== address) return;
  history.replaceState(null, "", wanted);
  address = location.hash;
  scrolls.set(address, scrollY);
  pausing = setTimeout(putAddress, READDRESS_EVERY_MS);
}

// A new view starts at its top, with the focus there; the back button comes back to where one was.
function settle(hash) {
  main.focus({ preventScroll: true });
  scrollTo(0, fresh ? 0 : scrolls.get(hash) ?? 0);
  context.announce(document.title.replace(" · arkor Studio", ""));
}

function mountUnknown(root) {
  root.append(h("div", { class: "plain" },
    h("h1", null, "There is no such page"),
    h("p", null, "Studio has nothing at ", h("code", null, location.hash), "."),
    h("p", null, h("a", { href: "#/" }, "Home"), " · ", h("a", { href: "#/jobs" }, "Jobs"))));
}

function mountBroken(root) {
  root.append(h("div", { class: "plain" },
    h("h1", null, "This view cannot be loaded"),
    h("p", { class: "problem" }, "Studio does not answer. Is `arkor dev` still running?"),
    h("button", { class: "button", type: "button", onclick: () => location.reload() }, "Load the page again")));
}

history.scrollRestoration = "manual";
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#']");
  if (link?.getAttribute("href") === "#main") {
    event.preventDefault(); // the address belongs to the router
    main.focus();
  } else if (link) {
    putAddress();
    fresh = true;
  }
});
addEventListener("scroll", () => settled && scrolls.set(location.hash, scrollY), { passive: true });
addEventListener("hashchange", () => {
  settled = false;
  show();
});
mountNotices(document.getElementById("notices"), context);
show();
