// One job: how it does, its chart, its events, what it has left. It follows the job while somebody looks.

import { createArtifacts } from "./artifacts.js";
import { MOST_POINTS } from "./curve.js";
import { h, replace } from "../dom.js";
import { createEventLog, lineOf } from "./eventlog.js";
import { createExport } from "../export/export.js";
import { createFeed, subscribe } from "../feed.js";
import { createFreshness } from "../freshness.js";
import { createHead } from "./jobhead.js";
import { createLossPanel } from "./losspanel.js";
import { isOver, jobName } from "../record.js";
import { createReport } from "../report/report.js";
import { createServedLine } from "../report/servedline.js";
import { followEvents } from "./stream.js";
import { createTabs } from "../tabs.js";
import { addressOf, readView } from "./view.js";
import { createWork } from "./work.js";

const JOB_EVERY_MS = 5000;
const STREAM_ERROR = "[stream error]";
// What an event tells of the job's status.
const STATUS = {
  "training.preparing": "running", "training.started": "running", "training.log": "running", "checkpoint.saved": "running",
  "training.interrupted": "queued", "training.paused": "paused", "training.unpaused": "queued",
  "training.completed": "completed", "training.failed": "failed", "training.cancelled": "cancelled",
};

export function mount(root, context, { id, query }) {
  const { api } = context;
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  let job = null;
  let announced = null;
  let changedAt = 0; // when an event, or the answer to an action, told of another status
  const ends = [];

  const head = createHead(context, id, onAnswer);
  const view = readView(query, id);
  const panel = createLossPanel(context, id, view);
  const log = createEventLog();
  const artifacts = createArtifacts(context, id, (list) => head.left(list));
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
        h("div", { class: "panel-head" }, h("h2", { id: "log-title" }, "Events")), log.element),
      artifacts.element)];
  const tabs = createTabs("Views of the job", [{ id: "training", label: "Training", content: training },
    { id: "report", label: "Report", content: report.element },
    { id: "export", label: "Export", content: exported.element }], view.tab, onTab);
  root.append(head.element, stale.element, ...tabs.elements);
  ends.push(head.close, panel.close, log.close, report.close, evaluations.close, exported.close, exports.close);
  looksAt(view.tab);

  function onTab(tab) {
    view.tab = tab;
    context.readdress(addressOf(id, view));
    looksAt(tab);
  }

  function looksAt(tab) {
    report.show(tab === "report");
    exported.show(tab === "export");
  }

  /** Take in what is known of the job; an answer that is older than its end does not bring it back. */
  function learn(change) {
    if (isOver(job) && !isOver(change)) return;
    job = { id, ...job, ...change };
    head.update(job);
    panel.named(String(job.name ?? ""));
    for (const one of [evaluations, report, exports, exported]) one.jobIs(job);
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
  const metrics = createFeed((signal) => api.get(`${path}/metrics?points=${MOST_POINTS}`, { signal }), JOB_EVERY_MS);

  const leaveJob = subscribe(jobFeed, (state) => {
    if (state.error?.status === 404) return void unknown();
    freshen();
    if (state.data) learnAsOf(state.data.askedAt, state.data.job);
    // An ended job does not change any more, once its whole description is there.
    if (isOver(state.data?.job) && !state.error) leaveJob();
  });

  const leaveMetrics = subscribe(metrics, (state) => {
    if (state.error?.status === 404) return;
    freshen();
    if (!state.data) return;
    leaveMetrics();
    begin(state.data);
  });

  function freshen() {
    stale.update(jobFeed.state);
    staleEvents.update(jobFeed.state.error ? {} : metrics.state); // once is enough
  }

  function begin({ points, started, lines, lastEventId, ended }) {
    panel.begin(points);
    log.clear(); // where there are none, it says so now
    if (started) head.started(started.metadata); // of a long job it is not among the last lines
    for (const line of lines) show(line);
    artifacts.refresh();
    if (ended) return;
    ends.push(followEvents(api, id, lastEventId, {
      onEvent,
      onReset() {
        log.clear();
        panel.reset();
      },
      onLost: () => log.add(STREAM_ERROR),
      onEnd() {
        jobFeed.refresh(); // a cancelled job may have had no event that says so
        artifacts.refresh();
      },
    }));
  }

  function show(event) {
    log.add(lineOf(event));
    if (Array.isArray(event.artifacts)) artifacts.offer(event.artifacts);
    if (typeof event.step === "number") head.reached(event.step);
    head.preparing(event);
    if (event.type === "training.started") head.started(event.metadata);
    if (event.type === "training.completed") head.completed(event.metrics);
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
    leaveMetrics();
    for (const end of ends.splice(0)) end();
  }

  return leave;
}
