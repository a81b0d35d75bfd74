// The panel of a job's chart: the chart, what one can change about it, and the same figures as a table.

import { createChart } from "./chart.js";
import { createComparison } from "./comparison.js";
import { Curve } from "./curve.js";
import { h, replace, setText } from "../dom.js";
import { RATES } from "./figure.js";
import { capital, number } from "../format.js";
import { METRICS } from "./metrics.js";
import { loadPlotly } from "./plotly.js";
import { jobName } from "../record.js";
import { addressOf, MOST_SMOOTHING } from "./view.js";

const LAST_ROWS = 20;
const COLUMNS = [["step", "Step"], ...METRICS.map(({ name, label }) => [name, capital(label)])];

/** The panel: `begin(points)`, `push(event)`, `reset()`, `named(name)`, `close()`, `element`. `shown` is the view of `readView`. */
export function createLossPanel({ api, announce, jobs, readdress }, jobId, shown) {
  const run = { id: jobId, name: "", curve: new Curve() };

  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const unsaved = h("p", { class: "problem", role: "alert", hidden: true });
  let begun = false;
  let over = false;
  const empty = h("p", { class: "empty chart-empty" }, "Loading …");
  const chart = createChart({ zoom: { x: shown.steps, y: shown.loss }, read, onZoom, onProblem });
  const comparison = createComparison({ api, jobs }, jobId, { given: shown.compare, changed: () => chart.draw(), chose: remember });

  const weight = h("input", { type: "range", id: "smoothing", min: "0", max: MOST_SMOOTHING, step: "0.01", oninput: smooth });
  weight.value = shown.smoothing; // once its ends are known
  const weightShown = h("output", { for: "smoothing", class: "figure" }, shown.smoothing.toFixed(2));
  const from = stepField("From step");
  const to = stepField("To step");
  const whole = h("button", { class: "button button-small", type: "button", disabled: true, onclick: () => chart.show(null) }, "Reset zoom");
  const controls = h("div", { class: "chart-controls" },
    h("label", { class: "chart-smoothing" }, "Smoothing", weight, weightShown),
    toggle("Log axis", shown.log, (on) => { shown.log = on; }),
    Object.entries(RATES).map(([name, label]) => toggle(capital(label), shown.rates.includes(name), (on) => {
      shown.rates = Object.keys(RATES).filter((rate) => (rate === name ? on : shown.rates.includes(rate)));
    })),
    comparison.element);
  const zooming = h("form", { class: "chart-zoom", onsubmit: zoomed }, h("span", { class: "quiet" }, "Steps"), from, "–", to,
    h("button", { class: "button button-small", type: "submit" }, "Show"), whole);
  const image = h("button", { class: "button button-small", type: "button", onclick: savePng }, "PNG");
  const table = h("button", { class: "button button-small", type: "button", onclick: saveCsv }, "CSV");
  const rows = h("tbody");
  const last = h("details", { class: "last-values", ontoggle: drawTable }, h("summary", null, "Show as table"),
    h("table", { class: "table figures" }, h("caption", { class: "visually-hidden" }, `The last ${LAST_ROWS} values, the newest first`),
      h("thead", null, h("tr", null, COLUMNS.map(([, label]) => h("th", { scope: "col" }, label)))), rows));
  const foot = h("div", { class: "chart-foot" }, zooming);
  const body = h("div", { class: "chart-body", hidden: true }, controls, chart.element, comparison.notes, foot, last);
  const element = h("section", { class: "panel chart-panel", "aria-labelledby": "chart-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "chart-title" }, "Loss"),
      h("div", { class: "chart-saves", role: "group", "aria-label": "Save the chart" }, image, table)),
    problem, unsaved, empty, body);
  image.disabled = table.disabled = true;
  drawZoom();

  function toggle(label, checked, change) {
    const box = h("input", { type: "checkbox", class: "switch", checked, onchange() {
      change(box.checked);
      chart.draw();
      remember();
    } });
    return h("label", { class: "switch-label" }, box, label);
  }

  function stepField(label) {
    return h("input", { class: "field step-field", type: "number", min: "0", step: "1", "aria-label": label, placeholder: "all" });
  }

  function smooth() {
    shown.smoothing = Number(weight.value);
    setText(weightShown, shown.smoothing.toFixed(2));
    chart.draw();
    remember();
  }

  /** Let the address say what is shown. */
  function remember() {
    shown.compare = comparison.ids;
    readdress(addressOf(jobId, shown));
  }

  function zoomed(event) {
    event.preventDefault();
    const { points } = run.curve;
    const low = from.value === "" ? points[0].step : Number(from.value);
    const high = to.value === "" ? points.at(-1).step : Number(to.value);
    chart.show(from.value === "" && to.value === "" ? null : [Math.min(low, high), Math.max(low, high, Math.min(low, high) + 1)]);
  }

  function onZoom({ x, y }) {
    shown.steps = x;
    shown.loss = y;
    drawZoom();
    announce(x ? `Steps ${x.join(" to ")}.` : "All steps.");
    remember();
  }

  function drawZoom() {
    [from.value, to.value] = shown.steps ?? ["", ""];
    whole.disabled = !shown.steps && !shown.loss;
  }

  function onProblem(error) {
    problem.hidden = !error;
    if (error) replace(problem, `The chart cannot be drawn: ${error.message} `,
      h("button", { class: "button button-small", type: "button", onclick: () => chart.draw() }, "Try again"));
  }

  function read() {
    drawTable();
    return { runs: [run, ...comparison.runs], shown, summary: summary() };
  }

  function summary() {
    const loss = run.curve.last("loss");
    const evaluated = run.curve.last("evalLoss");
    const parts = ["Chart of the loss by step."];
    if (loss) parts.push(`Last: step ${loss.step}, loss ${number(loss.loss)}.`);
    if (evaluated) parts.push(`Last evaluation: step ${evaluated.step}, loss ${number(evaluated.evalLoss)}.`);
    if (comparison.runs.length) parts.push(`Beside it: ${comparison.runs.map(jobName).join(", ")}.`);
    return parts.join(" ");
  }

  function changed() {
    const none = run.curve.points.length === 0;
    body.hidden = none;
    empty.hidden = !none;
    image.disabled = table.disabled = none;
    setText(empty, over ? "No training.log events." : "No training.log events yet.");
    if (none) return;
    chart.draw();
  }

  function drawTable() {
    if (!last.open) return;
    replace(rows, run.curve.points.slice(-LAST_ROWS).reverse().map((point) =>
      h("tr", null, COLUMNS.map(([name]) => h("td", { class: "figure" }, name === "step" ? point.step : number(point[name] ?? undefined))))));
  }

  function savePng() {
    save(() => chart.png(`${jobId.replace(/[^\w.-]+/g, "_")}-loss`));
  }

  function saveCsv() {
    save(() => api.download(`/api/jobs/${encodeURIComponent(jobId)}/metrics.csv`));
  }

  async function save(work) {
    try {
      unsaved.hidden = true;
      await work();
    } catch (error) {
      unsaved.hidden = false;
      setText(unsaved, `It could not be saved: ${error.message}`);
    }
  }

  // Not before the page can be used, and before the first figure comes.
  const idle = setTimeout(() => loadPlotly().catch(() => {}), 300);

  return {
    element,
    /** Show a run's points so far. */
    begin(points) {
      begun = true;
      run.curve = new Curve(points);
      changed();
    },
    push(event) {
      run.curve.push(event);
      changed();
    },
    reset() {
      run.curve = new Curve();
    },
    /** Say no longer that more may come. */
    ended() {
      over = true;
      if (begun) changed();
    },
    named(name) {
      if (run.name === name) return;
      run.name = name;
      if (run.curve.points.length) chart.draw();
    },
    close() {
      clearTimeout(idle);
      comparison.close();
      chart.close();
    },
  };
}
