// The job of a run on Home: how far it is, its chart, and the newest of its samples.

import { createChart } from "../job/chart.js";
import { Curve } from "../job/curve.js";
import { followJob } from "../job/follow.js";
import { createPreparing } from "../job/preparing.js";
import { createTrainingBar } from "./trainingbar.js";
import { h, replace, setText } from "../dom.js";
import { number } from "../format.js";
import { jobHref } from "../jobs/jobtable.js";
import { createText } from "../report/messages.js";
import { messagesOf, Samples, stepName } from "../samples/model.js";

const SHOWN = { log: false, smoothing: 0, rates: [], height: 240 };
const WHOLE = { x: null, y: null };
const FOLDED = { chars: 240, lines: 4 };

/** The job: `update(job)` with what the list of jobs has of it, `close()`, `element`. */
export function createRunJob({ api }, id) {
  const run = { id, name: "", curve: new Curve() };
  const samples = new Samples();
  const preparing = createPreparing();
  const bar = createTrainingBar();
  const chart = createChart({ zoom: WHOLE, read: () => ({ runs: [run], shown: SHOWN, summary: summary() }), onZoom: () => {}, onProblem });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const plot = h("div", { class: "run-chart", hidden: true }, chart.element);
  const last = h("section", { class: "run-sample", "aria-label": "The newest sample", hidden: true });
  const element = h("div", { class: "run-job" }, preparing.element, bar.element, problem, plot, last);
  let job = null;
  let isAsked = false;
  let shown = null;

  const leave = followJob(api, id, {
    begin({ points, started, lines }) {
      run.curve = new Curve(points);
      if (started) bar.take(started);
      lines.forEach(take);
      draw();
    },
    onEvent(event) {
      if (event.type === "training.log") run.curve.push(event);
      take(event);
      draw();
    },
    onReset() { run.curve = new Curve(); },
    onLost() {},
    onEnd() {},
  });

  function take(event) {
    preparing.take(event);
    bar.take(event);
    if (event.type === "sample.made") samples.add(event);
  }

  function draw() {
    plot.hidden = run.curve.points.length === 0;
    if (!plot.hidden) chart.draw();
    drawSample();
  }

  function drawSample() {
    const { last: newest } = samples;
    last.hidden = newest === null;
    if (newest === shown || !newest) return;
    shown = newest;
    const { step, sample, answer, isExact } = newest;
    const { prompt, expected } = samples.prompt(sample);
    replace(last,
      h("p", { class: "quiet" }, `Newest sample, ${stepName(step, Boolean(job?.config?.baseAdapter))} · `,
        h("a", { href: `${jobHref(id)}?tab=samples` }, "All samples")),
      h("div", { class: "quiet" }, createText(messagesOf(prompt).at(-1)?.text ?? "", FOLDED)),
      answer ? createText(answer, FOLDED) : h("i", null, "no text"),
      isExact && h("p", null, h("span", { class: "mark mark-good" }, "✓"), " equals the expected answer"),
      !isExact && typeof expected === "string" && h("div", { class: "sample-expected" }, h("span", { class: "quiet" }, "Expected"), createText(expected, FOLDED)));
  }

  function summary() {
    const loss = run.curve.last("loss");
    return `Chart of the loss by step.${loss ? ` Last: step ${loss.step}, loss ${number(loss.loss)}.` : ""}`;
  }

  function onProblem(error) {
    problem.hidden = !error;
    setText(problem, error ? `The chart cannot be drawn: ${error.message}` : "");
  }

  async function askForSamples() {
    isAsked = true;
    try {
      samples.merge(await api.get(`/api/jobs/${encodeURIComponent(id)}/samples`));
      drawSample();
    } catch {
      isAsked = false; // the next refresh of the jobs asks again
    }
  }

  return {
    element,
    update(now) {
      job = now;
      bar.update(job);
      if (job.config?.samplePrompts !== undefined && !isAsked) askForSamples();
    },
    close() {
      leave();
      chart.close();
    },
  };
}
