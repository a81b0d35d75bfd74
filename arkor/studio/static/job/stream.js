// The events of a job as they happen: one stream, while somebody looks, resumed behind the last event that came.

const TYPES = [
  "training.preparing", "training.started", "training.log", "checkpoint.saved", "sample.made", "training.interrupted",
  "training.paused", "training.unpaused", "training.completed", "training.failed", "training.cancelled",
];
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;
const SILENCE_MS = 20000; // Studio pings every 5 s
const STEADY_MS = 10000;

/**
 * Follow a job's events behind the one with the id `after`, null for all of them. Returns what ends it.
 * `onEvent(event)` gets each event's object; `onReset()` comes where all events come again, from the first one on;
 * `onLost()` where the stream broke, once until it is well again; `onEnd()` where it has ended for good.
 */
export function followEvents(api, jobId, after, { onEvent, onReset, onLost, onEnd }) {
  let lastId = after;
  let source = null;
  let over = false;
  let failures = 0;
  let timer = null;
  let openedAt = 0;
  let heardAt = 0;
  let anew = after === null;

  function open() {
    clearTimeout(timer);
    if (over || source || document.hidden) return;
    openedAt = heardAt = Date.now();
    anew = lastId === null;
    source = api.events(jobId, lastId);
    for (const type of TYPES) source.addEventListener(type, (message) => take(type, message));
    source.addEventListener("ping", () => { heardAt = Date.now(); });
    source.addEventListener("end", () => {
      close();
      onEnd();
    });
    source.onerror = lost;
  }

  function take(type, { data, lastEventId }) {
    heardAt = Date.now();
    failures = 0;
    if (anew) onReset(); // a backend that numbers no events cannot be asked for what is new
    anew = false;
    if (lastEventId) lastId = lastEventId;
    const event = parsed(data);
    if (event) onEvent({ ...event, type });
  }

  // The browser would try again by itself, but for ever at the same pace, and not after a status such as 503.
  function lost() {
    source?.close();
    source = null;
    if (Date.now() - openedAt > STEADY_MS) failures = 0;
    if (failures === 0) onLost();
    timer = setTimeout(open, Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS));
    failures += 1;
  }

  function pause() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  const onVisibility = () => (document.hidden ? pause() : open());
  document.addEventListener("visibilitychange", onVisibility);
  let watching = null;
  function watch() {
    if (source && Date.now() - heardAt > SILENCE_MS) lost();
    watching = setTimeout(watch, SILENCE_MS / 4);
  }

  function close() {
    over = true;
    pause();
    clearTimeout(watching);
    document.removeEventListener("visibilitychange", onVisibility);
  }

  open();
  watch();
  return close;
}

function parsed(data) {
  try {
    const value = JSON.parse(data);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
