// Which trainer the project's entry has. Asked again when somebody comes back to the page, so that edits show.

const AT_MOST_EVERY_MS = 1000;

/** Follow the manifest: `changed({trainer, error, loading, known})`. `read()` asks now; `close()` ends it. */
export function followManifest(api, changed) {
  let state = { trainer: null, error: null, loading: false, known: false };
  let current = null;
  let askedAt = -Infinity;
  let closed = false;

  function set(change) {
    state = { ...state, ...change };
    if (!closed) changed(state);
    return state;
  }

  async function ask() {
    askedAt = performance.now();
    set({ loading: true });
    try {
      const { trainer } = await api.get("/api/manifest");
      return set({ trainer, error: null, loading: false, known: true });
    } catch (error) {
      return set({ trainer: null, error: error.message, loading: false, known: true });
    } finally {
      current = null;
    }
  }

  function read() {
    current ??= ask();
    return current;
  }

  function onReturn() {
    if (!document.hidden && performance.now() - askedAt > AT_MOST_EVERY_MS) read();
  }
  addEventListener("focus", onReturn);
  document.addEventListener("visibilitychange", onReturn);
  read();

  function close() {
    closed = true;
    removeEventListener("focus", onReturn);
    document.removeEventListener("visibilitychange", onReturn);
  }

  return { read, close };
}
