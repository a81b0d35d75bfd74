// A chart of losses by step, drawn by Plotly: only so often that the page stays quick, and as wide as there is room.

import { h, setAttribute } from "../dom.js";
import { figureOf, lookOf } from "./figure.js";
import { loadPlotly } from "./plotly.js";

const SHORTEST_PAUSE_MS = 100;
const NARROWEST_PX = 240;
const PNG_PX = 1200;
const CONFIG = { displayModeBar: false, displaylogo: false, doubleClick: "autosize" };

/**
 * A chart. `zoom` is `{x, y}`, the steps and the losses that it shows at first, each a range or null for all; `onZoom` is
 * told when it is another. `read()` returns `{runs, shown, summary}` each time it is drawn; `onProblem(error)` is told
 * why it cannot be drawn, null where it can.
 */
export function createChart({ zoom, read, onZoom, onProblem }) {
  const plot = h("div", { class: "plot", role: "img", "aria-label": "Chart of the loss by step." });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let Plotly = null;
  let wanted = false;
  let busy = false;
  let closed = false;
  let notBefore = 0;
  let turn = 0;

  /** Draw soon; many calls make one drawing. */
  function draw() {
    wanted = true;
    if (busy || closed) return;
    busy = true;
    const wait = notBefore - performance.now();
    if (wait > 0) setTimeout(() => requestAnimationFrame(work), wait);
    else requestAnimationFrame(work);
  }

  async function work() {
    wanted = false;
    try {
      await paint();
      onProblem(null);
    } catch (error) {
      onProblem(error);
    }
    busy = false;
    if (wanted) draw();
  }

  async function paint() {
    Plotly ??= await loadPlotly();
    if (closed || plot.clientWidth === 0) return;
    const began = performance.now();
    const { runs, shown, summary } = read();
    turn += 1;
    const width = Math.max(plot.clientWidth, NARROWEST_PX);
    const hidden = new Set((plot.data ?? []).filter(({ visible }) => visible === "legendonly").map(({ uid }) => uid));
    const { data, layout } = figureOf({ runs, shown, zoom, look: lookOf(plot), width, turn, hidden });
    const first = !plot.on;
    await Plotly.react(plot, data, layout, CONFIG);
    setAttribute(plot, "aria-label", summary);
    if (first) {
      plot.on("plotly_relayout", moved);
      plot.on("plotly_restyle", draw); // somebody hid a line, or showed it again
      // Plotly 4.1 (of plotly 7.1) leaves a drawing in the page to measure with, which is nothing to read aloud.
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
    }
    const now = performance.now();
    notBefore = now + Math.max(SHORTEST_PAUSE_MS, 2 * (now - began)); // slow machines draw less often
  }

  // Somebody dragged, or double-clicked. Where only the steps are others, the losses are fitted to them.
  function moved(change) {
    const changes = (axis) => Object.keys(change).some((key) => key.startsWith(`${axis}.range`) || key === `${axis}.autorange`);
    if (!changes("xaxis") && !changes("yaxis")) return;
    const { xaxis, yaxis } = plot.layout;
    const x = !changes("xaxis") ? zoom.x : xaxis.autorange ? null : wholeSteps(xaxis.range);
    set({ x, y: !changes("yaxis") || yaxis.autorange ? null : lossesOf(yaxis) });
  }

  /** Show some steps, null for all. */
  function show(range) {
    set({ x: range, y: null });
  }

  function set(now) {
    zoom = now;
    onZoom(now);
    draw();
  }

  /** Save what is shown as a picture. */
  async function png(filename) {
    if (!plot.on) throw new Error("the chart is not drawn yet.");
    const { width, height } = plot.layout;
    await Plotly.downloadImage(plot, { format: "png", filename, width: Math.max(width, PNG_PX), height, scale: 2 });
  }

  const sizes = new ResizeObserver(draw);
  sizes.observe(plot);
  dark.addEventListener("change", draw);

  function close() {
    closed = true;
    sizes.disconnect();
    dark.removeEventListener("change", draw);
    if (Plotly && plot.on) Plotly.purge(plot);
  }

  return { element: plot, draw, show, png, close };
}

function wholeSteps([first, last]) {
  const from = Math.max(0, Math.floor(first));
  return [from, Math.max(from + 1, Math.ceil(last))];
}

function lossesOf({ type, range }) {
  return type === "log" ? range.map((power) => 10 ** power) : [...range];
}
