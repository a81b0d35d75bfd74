// The tab of a job's reports: asking for one, how far it is, and the newest report.

import { h, replace, setText } from "../dom.js";
import { createFreshness } from "../freshness.js";
import { createAskPanel } from "./askpanel.js";
import { isCheckOnly } from "./evaluations.js";
import { isActive } from "../job/work.js";
import { createReportBody } from "./reportbody.js";
import { createServedLine } from "./servedline.js";

/** The tab: `show(isShown)`, `jobIs(job)`, `close()`, `element`. A report is fetched when somebody looks. */
export function createReport(context, jobId, evaluations) {
  const { api, announce } = context;
  const stale = createFreshness("the evaluations");
  const ask = createAskPanel(context, evaluations);
  const served = createServedLine();
  const problem = h("p", { class: "problem", role: "alert" });
  const again = h("button", { class: "button button-small", type: "button", onclick: () => load(wanted) }, "Try again");
  const unread = h("div", { class: "panel report-unread", hidden: true }, problem, again);
  const earlier = h("p", { class: "quiet", hidden: true }, "The report below is of the evaluation before.");
  const body = h("div", { class: "report-body" });
  const element = h("div", { class: "report" }, stale.element, served.element, ask.element, unread, earlier, body);
  let isShown = false;
  let job = null;
  let newest = null;
  let awaited = null; // the evaluation that was under way when somebody looked
  let wanted = null; // the id of the report to show
  let loading = null;
  let loaded = null;
  let refused = null;
  let isAskFirst = true;

  evaluations.subscribe((state) => {
    stale.update(state);
    served.update(state.work);
    const asked = state.work.filter((one) => !isCheckOnly(one));
    newest = asked.at(-1) ?? null;
    wanted = asked.findLast(({ status }) => status === "completed")?.id ?? null;
    draw();
    tell();
  });

  function draw() {
    const hadFocus = ask.element.contains(document.activeElement);
    place(newest?.status !== "completed");
    ask.update(newest, job);
    if (hadFocus) ask.refocus();
    earlier.hidden = wanted === null || newest?.id === wanted;
    if (isShown && wanted !== null && ![loaded, loading, refused].includes(wanted)) load(wanted);
  }

  // A report stands above the form for another one; an evaluation that is under way or failed above an earlier report.
  function place(isFirst) {
    if (isFirst === isAskFirst) return;
    isAskFirst = isFirst;
    if (isFirst) served.element.after(ask.element);
    else body.after(ask.element);
  }

  function tell() {
    if (!newest) return;
    if (isActive(newest)) awaited = newest.id;
    else if (awaited === newest.id) {
      awaited = null;
      announce(newest.status === "completed" ? `The report is there. ${newest.verdict ?? ""}` : `The evaluation is ${newest.status}.`);
    }
  }

  async function load(id) {
    const path = `${evaluations.path}/${encodeURIComponent(id)}`;
    loading = id;
    refused = null;
    unread.hidden = true;
    if (loaded === null) replace(body, h("p", { class: "quiet" }, "Loading …"));
    try {
      const report = await api.get(`${path}/report`);
      if (loading !== id) return;
      loaded = id;
      replace(body, createReportBody(report, jobId, () => api.download(`${path}/report.html`)));
    } catch (error) {
      if (loading !== id) return;
      refused = id;
      if (loaded === null) replace(body);
      unread.hidden = false;
      setText(problem, `The report cannot be read: ${error.message}`);
    }
    loading = null;
  }

  return {
    element,
    show(now) {
      isShown = now;
      if (now) evaluations.refresh();
      draw();
    },
    jobIs(now) {
      job = now;
      draw();
    },
    close: ask.close,
  };
}
