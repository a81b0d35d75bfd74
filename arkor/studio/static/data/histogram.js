// A chart of the lengths of examples, drawn by Plotly, with a line at max_length.

import { h, setAttribute } from "../dom.js";
import { figure, many } from "../format.js";
import { lookOf } from "../job/figure.js";
import { loadPlotly } from "../job/plotly.js";

const HEIGHT_PX = 220;
const CONFIG = { displayModeBar: false, displaylogo: false };

/** The chart: `draw(buckets, maxLength)`, `element`, `close()`. */
export function createHistogram({ onProblem }) {
  const plot = h("div", { class: "plot histogram", role: "img", "aria-label": "Chart of the lengths of examples." });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let given = null;
  let Plotly = null;
  let closed = false;

  function draw(buckets, maxLength) {
    given = { buckets, maxLength };
    paint();
  }

  async function paint() {
    if (!given) return;
    try {
      Plotly ??= await loadPlotly();
    } catch (error) {
      return void onProblem(error);
    }
    if (closed || plot.clientWidth === 0) return;
    const { data, layout } = histogramOf(given.buckets, given.maxLength, lookOf(plot), plot.clientWidth);
    await Plotly.react(plot, data, layout, CONFIG);
    setAttribute(plot, "aria-label", spoken(given.buckets));
    document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // see job/chart.js
  }

  const sizes = new ResizeObserver(paint);
  sizes.observe(plot);
  dark.addEventListener("change", paint);

  function close() {
    closed = true;
    sizes.disconnect();
    dark.removeEventListener("change", paint);
    if (plot.data) Plotly.purge(plot);
  }

  return { element: plot, draw, close };
}

function histogramOf(buckets, maxLength, look, width) {
  const [first, last] = [buckets[0], buckets.at(-1)];
  const isInside = first.atLeast <= maxLength && maxLength <= last.below + (last.below - first.atLeast);
  const range = [first.atLeast, isInside ? Math.max(last.below, maxLength * 1.02) : last.below];
  const data = [{
    type: "bar",
    x: buckets.map(({ atLeast, below }) => (atLeast + below) / 2),
    width: buckets.map(({ atLeast, below }) => below - atLeast),
    y: buckets.map(({ examples }) => examples),
    customdata: buckets.map(({ atLeast, below }) => `${figure(atLeast)} to ${figure(below - 1)} tokens`),
    hovertemplate: "%{customdata}: %{y:,}<extra></extra>",
    marker: { color: buckets.map(({ atLeast }) => look.series[atLeast >= maxLength ? 1 : 0]), line: { color: look.surface, width: 1 } },
  }];
  const axis = { color: look.quiet, gridcolor: look.line, zeroline: false, fixedrange: true, automargin: true, tickformat: ",d" };
  const line = { type: "line", x0: maxLength, x1: maxLength, y0: 0, y1: 1, yref: "paper", line: { color: look.text, width: 1.5, dash: "dash" } };
  const side = maxLength > (range[0] + range[1]) / 2 ? "right" : "left"; // where there is room
  const label = { x: maxLength, y: 1, yref: "paper", xanchor: side, yanchor: "bottom", showarrow: false,
    text: `max_length ${figure(maxLength)}`, font: { color: look.text, size: 12 } };
  const layout = {
    width, height: HEIGHT_PX, margin: { l: 8, r: 12, t: 24, b: 8 }, bargap: 0,
    paper_bgcolor: look.surface, plot_bgcolor: look.surface, font: { family: look.sans, size: 12, color: look.text },
    xaxis: { ...axis, range, title: { text: "tokens of an example" } },
    yaxis: { ...axis, rangemode: "tozero", title: { text: "examples" } },
    hoverlabel: { bgcolor: look.raised, bordercolor: look.strong, font: { color: look.text } },
    shapes: isInside ? [line] : [], annotations: isInside ? [label] : [],
  };
  return { data, layout };
}

function spoken(buckets) {
  const most = buckets.reduce((one, other) => (other.examples > one.examples ? other : one));
  const total = buckets.reduce((sum, { examples }) => sum + examples, 0);
  return `Chart of the lengths of ${many(total, "example")}, from ${figure(buckets[0].atLeast)} to under `
    + `${figure(buckets.at(-1).below)} tokens. Most, ${figure(most.examples)}, have ${figure(most.atLeast)} to `
    + `${figure(most.below - 1)} tokens.`;
}
