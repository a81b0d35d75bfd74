// Which range of an axis shows what is to be seen of some lines between two steps.

const ROOM = 0.06; // above and below, of the whole

/**
 * Return the range in the axis's own units, which are powers of ten on a log axis; null where there is nothing to see.
 * `traces` are `{x, y}` as Plotly draws them: a line that crosses the window counts with what is inside.
 */
export function fittedRange(traces, [from, to], { log = false, toZero = false } = {}) {
  const seen = traces.flatMap((trace) => seenOf(trace, from, to, log));
  if (!seen.length) return null;
  if (toZero) seen.push(0);
  const low = seen.reduce((one, other) => Math.min(one, other));
  const high = seen.reduce((one, other) => Math.max(one, other));
  const room = (high - low) * ROOM || (log ? ROOM : Math.abs(high) * ROOM || 1);
  return [toZero && low === 0 ? 0 : low - room, toZero && high === 0 ? 0 : high + room];
}

function seenOf({ x, y }, from, to, log) {
  const values = log ? y.map((value) => (value > 0 ? Math.log10(value) : null)) : y;
  const seen = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (x[index] >= from && x[index] <= to) seen.push(value);
    const next = values[index + 1] ?? null;
    if (next === null) return; // the end, or a gap
    for (const edge of [from, to]) {
      if (x[index] >= edge || x[index + 1] <= edge) continue;
      seen.push(value + ((next - value) * (edge - x[index])) / (x[index + 1] - x[index]));
    }
  });
  return seen;
}
