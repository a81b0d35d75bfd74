// What one can do about a job: pause it, let it go on, resume it as a new job, cancel it.

import { confirm } from "../dialog.js";
import { h, setText } from "../dom.js";
import { jobHref } from "../jobs/jobtable.js";
import { isOver, jobName } from "../record.js";

const ACTIONS = {
  pause: { name: "Pause", asking: "Pausing …", feature: "pause-jobs", done: "paused", fits: ["queued", "running"],
    title: "It trains no further until you unpause it, and loses nothing", asked: "The job has been told to pause." },
  unpause: { name: "Unpause", asking: "Unpausing …", feature: "pause-jobs", done: "unpaused", fits: ["paused"],
    title: "It goes on from its last checkpoint when it is its turn", asked: "The job is to go on." },
  resume: { name: "Resume", asking: "Resuming …", feature: "resume-jobs", done: "resumed", fits: ["failed", "cancelled"],
    title: "A new job goes on from its last checkpoint", asked: "A new job goes on from its last checkpoint." },
  cancel: { name: "Cancel", asking: "Cancelling …", done: "cancelled", asked: "The job has been told to stop." },
};

/**
 * The buttons: `update(job)`, `close()`, `elements`, and `problem`, which says why something was refused. `onAnswer(job,
 * askedAt)` is told the job that an answer describes, null where it has to be asked for.
 */
export function createActions({ api, about, announce, navigate }, jobId, onAnswer) {
  const buttons = Object.fromEntries(Object.entries(ACTIONS).map(([action, { name, title = null }]) => [action,
    h("button", { class: "button", type: "button", title, hidden: true, onclick: (event) => press(action, event) }, name)]));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const asking = new Set();
  let job = null;
  let key = null; // of the new job that was asked for: who asks again for want of an answer gets the same job
  let focused = null; // the button that was pressed, as long as the focus has not gone elsewhere
  let closed = false;

  function update(now) {
    job = now;
    for (const action of asking) if (!isFit(action)) asking.delete(action); // a job goes on for a while after it was asked
    draw();
  }

  function isFit(action) {
    return action === "cancel" ? !isOver(job) : ACTIONS[action].fits.includes(job.status);
  }

  function draw() {
    const hadFocus = focused !== null && [focused, document.body].includes(document.activeElement);
    for (const [action, button] of Object.entries(buttons)) {
      const isAsking = asking.has(action);
      button.hidden = !job || !isFit(action) || !hasFeature(action);
      button.disabled = isAsking || asking.has("cancel");
      setText(button, isAsking ? ACTIONS[action].asking : ACTIONS[action].name);
    }
    if (!hadFocus) focused = null;
    else if (asking.size === 0) refocus();
  }

  function hasFeature(action) {
    return action === "cancel" || about.has(ACTIONS[action].feature);
  }

  // A button that is disabled or hidden loses the focus: it comes back, or goes to the one in its place.
  function refocus() {
    const usable = Object.values(buttons).filter(({ hidden, disabled }) => !hidden && !disabled);
    (usable.includes(focused) ? focused : usable[0])?.focus({ preventScroll: true });
    focused = null;
  }

  async function press(action, { detail }) {
    if (detail > 1) return; // the second half of a double click, perhaps on another button by now
    if (action === "cancel" && !await askToCancel()) return;
    asking.add(action);
    focused = buttons[action];
    problem.hidden = true;
    draw();
    let answer = null;
    const askedAt = performance.now();
    try {
      answer = action === "resume" ? await resume() : await ask(action);
    } catch (error) {
      asking.delete(action);
      problem.hidden = false;
      setText(problem, `The job was not ${ACTIONS[action].done}: ${error.message}`);
      draw();
    }
    if (!closed) onAnswer(answer, askedAt);
  }

  async function ask(action, body) {
    const { job: answer } = await api.post(`/api/jobs/${encodeURIComponent(jobId)}/${action}`, body);
    announce(ACTIONS[action].asked);
    return answer ?? null;
  }

  async function resume() {
    key ??= crypto.randomUUID();
    const made = await ask("resume", { idempotencyKey: key });
    key = null;
    if (!closed) navigate(jobHref(made.id));
    return null;
  }

  function askToCancel() {
    const rest = about.has("resume-jobs") ? "You can resume it from its last checkpoint, as a new job." : "A job that was stopped cannot go on.";
    const text = [h("bdi", null, jobName(job)), ` stops where it is. ${rest}`];
    return confirm({ title: "Cancel this job?", text, yes: "Cancel the job" });
  }

  const leaveAbout = about.subscribe(draw);
  return { elements: Object.values(buttons), problem, update, close() {
    closed = true;
    leaveAbout();
  } };
}
