// Calls of Studio's own server. Every one carries the token of this launch; no token of a backend ever comes here.

const token = document.querySelector('meta[name="arkor-studio-token"]').content;
const listeners = new Set();
let studio = "ok";

/**
 * What went wrong with a call: `status` is 0 where Studio did not answer; `feature` is what the backend lacks; `launch`
 * is "other" where this page is not of the Studio that answered.
 */
export class ApiError extends Error {
  constructor(status, message, { feature = null, launch = null } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.feature = feature;
    this.launch = launch;
  }
}

/** Paths are whole ones: `api.get("/api/jobs")`. `signal` of an AbortSignal breaks a call off. */
export const api = { get, post, text, stream, events, download, onStudio };

/** GET an answer of JSON. */
async function get(path, { signal } = {}) {
  return json(await call(path, { signal }));
}

/** POST JSON and return the answer's. */
async function post(path, body = {}, { signal } = {}) {
  return json(await call(path, { method: "POST", body, signal }));
}

/** GET an answer as text. */
async function text(path, { signal } = {}) {
  return broken(async () => (await call(path, { signal })).text());
}

/** Hand out an answer's text as it arrives; returns at its end. `onOpen(response)` comes before the first of it. */
async function stream(path, { method = "GET", body, signal, onOpen = () => {}, onText }) {
  const response = await call(path, { method, body, signal });
  onOpen(response);
  await broken(async () => {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      const piece = decoder.decode(value, { stream: !done });
      if (piece) onText(piece);
      if (done) return;
    }
  });
}

/** The event stream of a job, from the event after `after` on. Whoever opens it closes it. */
function events(jobId, after = null) {
  const query = new URLSearchParams({ token });
  if (after !== null) query.set("after", after);
  return new EventSource(`/api/jobs/${encodeURIComponent(jobId)}/events?${query}`);
}

/** Save a file: one of /api/* is fetched with the token, a one-time link of /download/* is handed to the browser. */
async function download(url) {
  if (!url.startsWith("/api/")) return save(url, "");
  const response = await call(url, {});
  const name = /filename="?([^";]+)/.exec(response.headers.get("Content-Disposition") ?? "");
  const object = URL.createObjectURL(await broken(() => response.blob()));
  save(object, name ? name[1] : url.split("/").at(-1));
  setTimeout(() => URL.revokeObjectURL(object), 60000);
}

/** Be told how Studio's own server is: "ok", "gone" (no answer) or "other" (started anew, with another token). */
function onStudio(listener) {
  listeners.add(listener);
  listener(studio);
  return () => listeners.delete(listener);
}

function save(href, name) {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}

async function call(path, { method = "GET", body, signal }) {
  const headers = { "X-Arkor-Studio-Token": token };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await broken(
    () => fetch(path, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) }),
  );
  if (response.ok) {
    tell("ok");
    return response;
  }
  const error = await refusal(response);
  tell(error.launch === "other" ? "other" : "ok");
  throw error;
}

async function refusal(response) {
  const said = await response.text().catch(() => "");
  try {
    const { error, ...rest } = JSON.parse(said);
    return new ApiError(response.status, String(error ?? said), rest);
  } catch {
    return new ApiError(response.status, said.trim().slice(0, 500) || `Studio answered ${response.status}.`);
  }
}

async function json(response) {
  const said = await broken(() => response.text());
  try {
    return JSON.parse(said);
  } catch {
    throw new ApiError(response.status, "Studio's answer is not JSON.");
  }
}

// fetch and its readers throw TypeError, in words of the browser's own, when the connection breaks.
async function broken(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    if (error.name === "TimeoutError") throw new ApiError(0, "No answer in time.");
    tell("gone");
    throw new ApiError(0, "Studio does not answer. Is `arkor dev` still running?");
  }
}

function tell(now) {
  if (now === studio) return;
  studio = now;
  for (const listener of [...listeners]) listener(now);
}
