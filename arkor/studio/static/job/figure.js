// What Plotly is to draw, from the curves of one or more runs.

import { lossPoints, smoothed } from "./curve.js";
import { METRICS } from "./metrics.js";
import { fittedRange } from "./fit.js";

/** The metrics that have a chart of their own on request: name and label. */
export const RATES = Object.fromEntries(METRICS.filter(({ chart }) => chart === "request").map(({ name, label }) => [name, label]));
export const MOST_RUNS = 5;

const MAIN_PX = 380;
const RATE_PX = 150;
const GAP_PX = 34;
const AROUND_PX = 64; // the axis below and the legend above
const FEW_POINTS = 60;
const FEW_STEPS = 8;
const LONGEST_NAME = 28;

/**
 * Data and layout. `runs` are `{id, name, curve}`, the page's own first; `shown` is `{log, smoothing, rates, height?}`, `zoom`
 * `{x, y}`, a range of steps and one of losses, each null for all that there is; `look` is what `lookOf` returns;
 * `hidden` has the uids of the lines that somebody has hidden in the legend.
 */
export function figureOf({ runs, shown, zoom, look, width, turn, hidden }) {
  const rates = shown.rates.filter((name) => name in RATES);
  const data = runs.flatMap((run, index) => {
    const own = colours(look, index);
    const label = runs.length > 1 ? nameOf(run, runs) : null;
    const traces = [
      ...lossTraces(run.curve, label, own, shown.smoothing),
      ...evalTraces(run.curve, label, own),
      ...rates.map((name, row) => rateTrace(run.curve, name, label, own, row)),
    ];
    // By its uid Plotly knows again what somebody has hidden in the legend.
    return traces.map((trace) => ({ ...trace, uid: `${run.id} ${trace.uid}` }));
  });
  const layout = layoutOf({ shown, zoom, look, width, rates, turn });
  fit(layout, data.filter(({ uid }) => !hidden.has(uid)), { shown, zoom, rates });
  if (spanOf(runs, zoom.x) < FEW_STEPS) layout.xaxis.dtick = 1; // there is no half a step
  return { data, layout };
}

/** The colours and letters of the page, as they are now. */
export function lookOf(element) {
  const style = getComputedStyle(element);
  const token = (name) => style.getPropertyValue(name).trim();
  return {
    series: [1, 2, 3, 4, 5, 6].map((number) => token(`--series-${number}`)),
    surface: token("--surface"), raised: token("--raised"), text: token("--text"), quiet: token("--quiet"),
    line: token("--line"), strong: token("--line-strong"), sans: style.fontFamily,
  };
}

// A run beside others has one colour; the page's own run has one more for its evaluations.
function colours({ series }, index) {
  return index === 0 ? { loss: series[0], evaluation: series[1] } : { loss: series[index + 1], evaluation: series[index + 1] };
}

function lossTraces(curve, label, { loss: colour }, weight) {
  const points = lossPoints(curve.points);
  if (!curve.has("loss")) return [];
  const x = points.map(({ step }) => step);
  const raw = points.map(({ loss }) => loss);
  const line = { color: colour, width: 1.75 };
  const common = { type: "scatter", mode: points.length > FEW_POINTS ? "lines" : "lines+markers", x, line,
    marker: { size: 4, color: colour }, connectgaps: false };
  const name = label ?? "loss";
  if (!weight) return [{ ...common, uid: "loss", name, y: raw, hovertemplate: "%{y:.5~g}" }];
  return [
    { ...common, uid: "raw", legendgroup: name, name, y: raw, mode: "lines", line: { color: colour, width: 1 }, opacity: 0.3,
      hoverinfo: "skip", showlegend: false },
    { ...common, uid: "loss", legendgroup: name, name, y: smoothed(raw, weight), mode: "lines", line: { ...line, width: 2.25 }, customdata: raw,
      hovertemplate: "%{customdata:.5~g} (smoothed %{y:.5~g})" },
  ];
}

function evalTraces(curve, label, { evaluation: colour }) {
  const points = curve.points.filter(({ evalLoss }) => evalLoss !== null);
  if (!points.length) return [];
  return [{
    uid: "evaluation", type: "scatter", mode: points.length > FEW_POINTS ? "lines" : "lines+markers", name: label ? `${label}, eval` : "eval loss",
    x: points.map(({ step }) => step), y: points.map(({ evalLoss }) => evalLoss), hovertemplate: "%{y:.5~g}",
    line: { color: colour, width: 1.75, dash: label ? "dot" : "solid" }, marker: { size: 7, color: colour, symbol: "diamond" },
  }];
}

function rateTrace(curve, name, label, { loss: colour }, row) {
  const drawn = name.startsWith("eval") ? curve.points : lossPoints(curve.points); // an evaluation is not as fast as training
  const points = drawn.filter((one) => one[name] !== null);
  return {
    uid: name, type: "scatter", mode: points.length > 1 ? "lines" : "markers", name: label ? `${label}, ${RATES[name]}` : RATES[name],
    x: points.map(({ step }) => step), y: points.map((one) => one[name]), yaxis: `y${row + 2}`, showlegend: false,
    hovertemplate: "%{y:.4~g}", line: { color: colour, width: 1.5 }, marker: { size: 5, color: colour },
  };
}

function layoutOf({ shown, zoom, look, width, rates, turn }) {
  const main = shown.height ?? MAIN_PX;
  const inner = main + rates.length * (RATE_PX + GAP_PX);
  // The range belongs to the page, which hands it out anew each time: Plotly is to remember none of its own.
  const axis = { gridcolor: look.line, zerolinecolor: look.line, linecolor: look.line, tickcolor: look.line,
    automargin: true, zeroline: false, uirevision: turn };
  const layout = {
    width, height: inner + AROUND_PX,
    margin: { l: 52, r: 14, t: 12, b: 40 },
    paper_bgcolor: look.surface, plot_bgcolor: look.surface,
    font: { family: look.sans, size: 12, color: look.quiet },
    hovermode: "x unified", hoversubplots: "axis", dragmode: "zoom", uirevision: "kept",
    hoverlabel: { bgcolor: look.raised, bordercolor: look.strong, font: { color: look.text, family: look.sans, size: 12 } },
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { color: look.text }, itemdoubleclick: "toggleothers" },
    xaxis: { ...axis, ...ranged(zoom.x), title: { text: "step", standoff: 6 }, hoverformat: ",d", tickformat: ",~d",
      unifiedhovertitle: { text: "step %{x:,d}" }, anchor: rates.length ? `y${rates.length + 1}` : "y", showspikes: false },
    yaxis: { ...axis, type: shown.log ? "log" : "linear", domain: [1 - main / inner, 1],
      title: { text: "loss", standoff: 8 } },
  };
  rates.forEach((name, row) => {
    const top = inner - main - GAP_PX - row * (RATE_PX + GAP_PX);
    layout[`yaxis${row + 2}`] = { ...axis, domain: [(top - RATE_PX) / inner, top / inner].map((share) => Math.max(0, share)),
      title: { text: RATES[name], standoff: 8 }, rangemode: "tozero", exponentformat: "e", fixedrange: true };
  });
  return layout;
}

// An axis of figures shows what there is between the steps that are shown, not what the rest of the run needs.
function fit(layout, traces, { shown: { log }, zoom, rates }) {
  const of = (axis) => traces.filter(({ yaxis = "y" }) => yaxis === axis);
  const chosen = zoom.y && log ? zoom.y.map(Math.log10) : zoom.y;
  const isPossible = chosen?.every(Number.isFinite); // a log axis has no zero
  Object.assign(layout.yaxis, ranged(isPossible ? chosen : zoom.x && fittedRange(of("y"), zoom.x, { log })));
  rates.forEach((_, row) => {
    const range = zoom.x && fittedRange(of(`y${row + 2}`), zoom.x, { toZero: true });
    Object.assign(layout[`yaxis${row + 2}`], ranged(range));
  });
}

function spanOf(runs, range) {
  const ends = range ?? runs.flatMap(({ curve: { points } }) => [...points.slice(0, 1), ...points.slice(-1)].map(({ step }) => step));
  return Math.max(...ends) - Math.min(...ends);
}

function ranged(range) {
  return range ? { range: [...range], autorange: false } : { autorange: true };
}

function nameOf({ id, name }, runs) {
  const alike = runs.filter((other) => other.name === name).length > 1;
  const whole = alike || !name ? `${name ? `${short(name, 16)} ` : ""}${id.length > 10 ? `…${id.slice(-6)}` : id}` : short(name, LONGEST_NAME);
  return literal(whole);
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

// Plotly reads some tags and entities in every text.
function literal(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
