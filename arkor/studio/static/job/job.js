// One job: how it does, its chart, its events, what it has left. It follows the job while somebody looks.

import { createArtifacts } from "./artifacts.js";
import { h, replace } from "../dom.js";
import { createEventLog } from "./eventlog.js";
import { createExport } from "../export/export.js";
import { createFeed, subscribe } from "../feed.js";
import { followJob } from "./follow.js";
import { createFreshness } from "../freshness.js";
import { createHead } from "./jobhead.js";
import { createLossPanel } from "./losspanel.js";
import { isOver, jobName } from "../record.js";
import { createReport } from "../report/report.js";
import { createServedLine } from "../report/servedline.js";
import { createSamples } from "../samples/samples.js";
import { createTabs } from "../tabs.js";
import { addressOf, readView } from "./view.js";
import { createWork } from "./work.js";

const JOB_EVERY_MS = 5000;
const LOST = "The connection to the events broke off; Studio tries again.";
// What an event tells of the job's status.
const STATUS = {
  "training.preparing": "running", "training.started": "running", "training.log": "running", "checkpoint.saved": "running",
  "sample.made": "running",
  "training.interrupted": "queued", "training.paused": "paused", "training.unpaused": "queued",
  "training.completed": "completed", "training.failed": "failed", "training.cancelled": "cancelled",
};

export function mount(root, context, { id, query }) {
  const { api } = context;
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  let job = null;
  let announced = null;
  let changedAt = 0; // when an event, or the answer to an action, told of another status
  let started = null; // what the newest training.started says
  let historyState = {};
  const ends = [];

  const head = createHead(context, id, onAnswer);
  const view = readView(query, id);
  const panel = createLossPanel(context, id, view);
  const log = createEventLog();
  const samples = createSamples(context, id);
  const artifacts = createArtifacts(context, id, (list) => {
    head.left(list);
    samples.left(list);
  });
  const stale = createFreshness("the job");
  const staleEvents = createFreshness("its events");
  const evaluations = createWork(context, id, "evaluation");
  const served = createServedLine();
  const report = createReport(context, id, evaluations);
  const exports = createWork(context, id, "export");
  const exported = createExport(context, id, exports, () => artifacts.refresh());
  head.about.append(served.element);
  evaluations.subscribe((state) => served.update(state.work));
  const training = [head.about, staleEvents.element, panel.element,
    h("div", { class: "job-below" },
      h("section", { class: "panel log-panel", "aria-labelledby": "log-title" },
        h("div", { class: "panel-head" }, h("h2", { id: "log-title" }, "Events"), log.json), log.element),
      artifacts.element)];
  const tabs = createTabs("Views of the job", [{ id: "training", label: "Training", content: training },
    { id: "samples", label: "Samples", content: samples.element },
    { id: "report", label: "Report", content: report.element },
    { id: "export", label: "Export", content: exported.element }], view.tab, onTab);
  root.append(head.element, stale.element, ...tabs.elements);
  ends.push(head.close, panel.close, log.close, samples.close, report.close, evaluations.close, exported.close, exports.close);
  looksAt(view.tab);

  function onTab(tab) {
    view.tab = tab;
    context.readdress(addressOf(id, view));
    looksAt(tab);
  }

  function looksAt(tab) {
    samples.show(tab === "samples");
    report.show(tab === "report");
    exported.show(tab === "export");
  }

  /** Take in what is known of the job; an answer that is older than its end does not bring it back. */
  function learn(change) {
    if (isOver(job) && !isOver(change)) return;
    job = { id, ...job, ...change };
    head.update(job);
    panel.named(String(job.name ?? ""));
    for (const one of [samples, evaluations, report, exports, exported]) one.jobIs(job);
    if (isOver(job)) panel.ended();
    context.title(jobName({ id, ...job }));
    if (announced && announced !== job.status) context.announce(`The job is ${job.status}.`);
    announced = job.status;
  }

  // Of an answer that was on its way while the status changed, the rest alone is news.
  function learnAsOf(askedAt, answer) {
    const { status, ...rest } = answer;
    learn(askedAt < changedAt && !isOver(answer) ? rest : answer);
  }

  function onAnswer(answer, askedAt) {
    if (!answer) return void jobFeed.refresh();
    learnAsOf(askedAt, answer);
    changedAt = performance.now();
  }

  const jobFeed = createFeed(async (signal) => ({ askedAt: performance.now(), ...await api.get(path, { signal }) }), JOB_EVERY_MS);

  const leaveJob = subscribe(jobFeed, (state) => {
    if (state.error?.status === 404) return void unknown();
    freshen();
    if (state.data) learnAsOf(state.data.askedAt, state.data.job);
    // An ended job does not change any more, once its whole description is there.
    if (isOver(state.data?.job) && !state.error) leaveJob();
  });

  ends.push(followJob(api, id, {
    begin,
    changed(state) {
      historyState = state;
      freshen();
    },
    onEvent,
    onReset() {
      log.clear();
      panel.reset();
    },
    onLost: () => log.note(LOST),
    onEnd() {
      jobFeed.refresh(); // a cancelled job may have had no event that says so
      artifacts.refresh();
    },
  }));

  function freshen() {
    stale.update(jobFeed.state);
    staleEvents.update(jobFeed.state.error ? {} : historyState); // once is enough
  }

  function begin({ points, started: start, lines }) {
    panel.begin(points);
    log.clear(); // where there are none, it says so now
    if (start) begun(start); // of a long job it is not among the last lines
    for (const line of lines) show(line);
    artifacts.refresh();
  }

  function begun({ metadata }) {
    started = metadata;
    head.started(metadata);
  }

  function show(event) {
    if (event.type === "training.started") begun(event);
    log.add(event, started?.maxSteps);
    if (Array.isArray(event.artifacts)) artifacts.offer(event.artifacts);
    if (typeof event.step === "number") head.reached(event.step);
    head.preparing(event);
    if (event.type === "sample.made") samples.add(event);
    if (event.type !== "training.completed") return;
    head.completed(event.metrics);
    samples.completed(event.metrics);
  }

  function onEvent(event) {
    show(event);
    if (event.type === "training.log") panel.push(event);
    if (event.type === "checkpoint.saved") artifacts.refresh();
    const status = STATUS[event.type];
    if (!status || (status === "running" && job?.status === "running")) return;
    changedAt = performance.now();
    learn({
      status,
      ...(isOver({ status }) ? { completedAt: event.timestamp } : {}),
      ...(event.type === "training.failed" ? { error: event.error } : {}),
      ...(event.type === "training.paused" ? { pauseReason: event.reason } : {}),
    });
  }

  function unknown() {
    leave();
    context.title("Unknown job");
    replace(root, h("div", { class: "plain" },
      h("h1", null, id),
      h("p", null, "There is no such job in this project. It may belong to another project or backend."),
      h("p", null, h("a", { href: "#/jobs" }, "All jobs"))));
  }

  function leave() {
    leaveJob();
    for (const end of ends.splice(0)) end();
  }

  return leave;
}
