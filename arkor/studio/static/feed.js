// Something that is asked for again and again: while somebody listens and the page is visible, one request at a time.
// The window's event "back" says that a server answers again: nobody waits out a long pause then.

const TIMEOUT_MS = 30000;
const SLOW_MS = 8000;
const LONGEST_PAUSE_MS = 30000;

/**
 * A feed. `load(signal)` returns a promise of its data; it comes again `everyMs` after the last answer, later and
 * later while it fails. The state is `{data, error, loadedAt, loading, slow}`; `data` outlives an error.
 */
export function createFeed(load, everyMs) {
  const listeners = new Set();
  let state = { data: null, error: null, loadedAt: null, loading: false, slow: false };
  let failures = 0;
  let timer = null;
  let current = null;

  function set(change) {
    state = { ...state, ...change };
    for (const listener of [...listeners]) listener(state);
  }

  async function ask() {
    clearTimeout(timer);
    const slow = setTimeout(() => set({ slow: true }), SLOW_MS);
    set({ loading: true });
    try {
      const data = await load(AbortSignal.timeout(TIMEOUT_MS));
      failures = 0;
      set({ data, error: null, loadedAt: Date.now(), loading: false, slow: false });
    } catch (error) {
      failures += 1;
      set({ error, loading: false, slow: false });
    } finally {
      clearTimeout(slow);
      current = null;
      plan();
    }
  }

  function plan() {
    clearTimeout(timer);
    if (!listeners.size || document.hidden) return;
    timer = setTimeout(refresh, Math.min(everyMs * 2 ** Math.max(failures - 1, 0), LONGEST_PAUSE_MS));
  }

  /** Ask now; while a request is under way, return that one. */
  function refresh() {
    current ??= ask();
    return current;
  }

  function onChange() {
    if (document.hidden) clearTimeout(timer);
    else refresh();
  }

  function watch(verb) {
    document[verb]("visibilitychange", onChange);
    window[verb]("back", onChange);
  }

  /** Listen, and be told the present state at once. Returns what ends it. */
  function subscribe(listener) {
    if (!listeners.size) watch("addEventListener");
    listeners.add(listener);
    listener(state);
    if (listeners.size === 1 && !document.hidden) refresh();
    return () => {
      listeners.delete(listener);
      if (listeners.size) return;
      clearTimeout(timer);
      watch("removeEventListener");
    };
  }

  return { subscribe, refresh, get state() { return state; } };
}

/** Listen to a feed that may be left by its own listener: it tells its state at once. Returns what ends it. */
export function subscribe(feed, listener) {
  let left = false;
  const unsubscribe = feed.subscribe((state) => left || listener(state));
  return () => {
    if (left) return;
    left = true;
    unsubscribe();
  };
}
