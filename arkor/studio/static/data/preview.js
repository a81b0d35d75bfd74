// Asking how a model sees rows. The backend looks through all of them for each question, so rows come with others around.

import { ApiError } from "../api.js";

const AROUND = 10;
const AHEAD = 3; // rows that are there before somebody wants them
const MOST_KEPT = 200;
const BUSY = 503;
const MOST_TRIES = 20;
const PAUSE_MS = 2000;

/** Return what asks: `ask(question, signal)` gives a promise of the answer. `of` is `{job}` or `{draft}`. */
export function createAsker(api, of) {
  return async (question, signal) => {
    const said = await whenFree(() => api.post("/api/previews", { ...of, ...question }, { signal }), signal);
    if (said.error === undefined) return said;
    const source = said.source ? `${said.source}: ` : "";
    const rows = (said.rows ?? []).map(({ row, reason }) => `\nrow ${row}: ${reason}`);
    throw new ApiError(said.status ?? 500, `${source}${said.error}${rows.join("")}`);
  };
}

// A backend makes few previews at a time, and another tab may have them all.
async function whenFree(work, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (error.status !== BUSY || tries === MOST_TRIES) throw error;
    }
    await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
    signal.throwIfAborted();
  }
}

/**
 * The rows that were shown, and those around them. `load(place)` gives a promise of a row, null of the first one; it
 * breaks off what was loaded before. `prepare(row, side)` has some rows before ("previous") or after ("next") a row.
 */
export function createRowStore(ask) {
  const rows = new Map();
  let pending = null;

  function load(place) {
    const known = place && rows.get(key(place));
    if (known) return Promise.resolve(known);
    const wanted = place ? key(place) : "";
    if (pending?.wanted === wanted) return pending.promise;
    pending?.controller.abort();
    const controller = new AbortController();
    const mine = { wanted, controller, promise: fetchRow(place, controller.signal) };
    pending = mine;
    mine.promise.catch(() => {}).then(() => { if (pending === mine) pending = null; });
    return mine.promise;
  }

  async function fetchRow(place, signal) {
    const held = place?.isHeldOut ? { isHeldOut: true } : {}; // an older backend does not know it
    const { preview, around = [] } = await ask({ row: place?.row ?? 0, ...held, around: AROUND }, signal);
    for (const row of [...around, preview]) rows.set(key(row), row);
    for (const old of [...rows.keys()].slice(0, Math.max(0, rows.size - MOST_KEPT))) rows.delete(old);
    return preview;
  }

  function prepare(row, side) {
    for (let step = 0; step < AHEAD && row?.[side]; step += 1) {
      const beside = row[side];
      row = rows.get(key(beside));
      if (!row) load(beside).catch(() => {}); // whoever goes there is told
    }
  }

  return { load, prepare, close: () => pending?.controller.abort() };
}

function key({ row, isHeldOut }) {
  return `${row} ${isHeldOut === true}`;
}
