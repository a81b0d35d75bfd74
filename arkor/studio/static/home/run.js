// The one run of this Studio: how it does, its output, how to start and stop it. No elements here.

import { createFeed } from "../feed.js";

const EVERY_MS = 5000;
const PAUSES_MS = [500, 1000, 2000, 5000, 10000];
const ASK_MS = 300;
const TAIL = 100;
const EXITED = /\[exit (-?\d+)\]\s*$/;

/**
 * Follow the run. Its output goes to `log`; `changed` is told
 * `{phase, dryRun, jobId, exitCode, stopped, interrupted, error}`, with phase one of
 * "unknown", "none", "starting", "running", "stopping", "ended".
 */
export function followRun(api, log, changed) {
  let state = {
    phase: "unknown", dryRun: false, jobId: null, exitCode: null, stopped: false, interrupted: false, error: null,
  };
  let reading = null; // {id, abort}: whose output is in the box, and what breaks off its stream
  let closed = false;
  let starts = 0;
  let asking = null; // the timer of the next question for the job's id
  let over = null; // the id of the run whose output has ended: an older answer does not bring it back

  function set(change) {
    state = { ...state, ...change };
    if (!closed) changed(state);
  }

  // Tells of a run that another tab has started, too. An answer from before a start here is none of it.
  const feed = createFeed(async (signal) => {
    const before = starts;
    return { ...(await api.get("/api/train", { signal })), before };
  }, EVERY_MS);
  let learnt = null;
  const leave = feed.subscribe(({ data }) => data && learn(data));

  function learn(data) {
    const { run, running, before } = data;
    if (data === learnt || before !== starts || state.phase === "starting") return;
    learnt = data;
    if (!run) return set({ phase: "none" });
    const ended = !running || run.id === over;
    const isSame = run.id === reading?.id;
    const stopped = run.stopping || (isSame && state.stopped); // an answer may be older than a press of Stop
    set({
      phase: ended ? "ended" : stopped ? "stopping" : "running",
      dryRun: run.dryRun, jobId: run.jobId, exitCode: run.exitCode ?? (ended ? state.exitCode : null),
      stopped,
    });
    if (!isSame && !document.hidden) read(run.id);
  }

  /** Show a run's output from its first byte to its end, whatever happens to the connection meanwhile. */
  async function read(id) {
    reading?.abort();
    const controller = new AbortController();
    const { signal } = controller;
    reading = { id, abort: () => controller.abort() };
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        const code = await once(signal);
        if (code !== null) {
          over = id;
          return set({ phase: "ended", exitCode: code, interrupted: false });
        }
        if (state.phase === "ended") return set({ interrupted: false });
      } catch (error) {
        if (signal.aborted || error.status === 404) return;
      }
      set({ interrupted: true });
      await pause(PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)]);
    }
  }

  // The box keeps what it has until there is something to put in its place. Returns the exit code, null where cut off.
  async function once(signal) {
    let tail = null;
    await api.stream("/api/train/log", { signal, onText(text) {
      if (tail === null) log.clear();
      log.write(text);
      tail = ((tail ?? "") + text).slice(-TAIL);
      askForJob();
      if (state.interrupted) set({ interrupted: false });
    } });
    const exited = EXITED.exec(tail ?? "");
    return exited ? Number(exited[1]) : null;
  }

  // Output is a sign that the command has got further; the server knows its job, whatever the output says.
  function askForJob() {
    if (state.jobId || asking) return;
    asking = setTimeout(() => {
      asking = null;
      if (!state.jobId) feed.refresh();
    }, ASK_MS);
  }

  /** Start a run. */
  async function start(dryRun) {
    const before = state.phase;
    set({ phase: "starting", dryRun, error: null });
    const started = new AbortController();
    try {
      // The answer is the output; it is read where it can be read again after a cut.
      await api.stream("/api/train", {
        method: "POST", body: { dryRun }, signal: started.signal, onOpen: () => started.abort(), onText() {},
      });
    } catch (error) {
      if (!started.signal.aborted) set({ phase: before, error: error.message });
    }
    if (started.signal.aborted) {
      log.clear();
      set({ phase: "running", jobId: null, exitCode: null, stopped: false });
    }
    starts += 1;
    await feed.refresh();
    await feed.refresh();
  }

  /** Stop the run, and cancel its job. */
  async function stop() {
    set({ phase: "stopping", stopped: true, error: null }); // the end may come before the answer
    try {
      await api.post("/api/train/stop");
    } catch (error) {
      const phase = state.phase === "ended" ? "ended" : "running";
      set({ phase, stopped: false, error: error.status === 409 ? null : `The run could not be stopped: ${error.message}` });
    }
    await feed.refresh();
  }

  // A hidden page holds no connection: browsers open six to a host, and there may be many tabs.
  function onVisibility() {
    if (!document.hidden) return;
    reading?.abort();
    reading = null;
  }
  document.addEventListener("visibilitychange", onVisibility);

  function close() {
    closed = true;
    reading?.abort();
    clearTimeout(asking);
    leave();
    document.removeEventListener("visibilitychange", onVisibility);
  }

  return { start, stop, close };
}

function pause(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}
