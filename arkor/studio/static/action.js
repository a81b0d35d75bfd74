// What a button asks the backend for: one thing at a time, with its error on the page, and the focus where it was.

import { setText } from "./dom.js";

/**
 * `run(call, done)` asks and announces `done`; `refocus()` brings the focus back; `isBusy` says whether it asks now. `problem`
 * shows an error, `buttons` are those that may have the focus, and `draw()` shows the change.
 */
export function createAction({ announce, problem, buttons, draw }) {
  const action = { isBusy: false, run, refocus };

  async function run(call, done) {
    if (action.isBusy) return;
    action.isBusy = true;
    problem.hidden = true;
    draw();
    try {
      await call();
      announce(done);
    } catch (error) {
      problem.hidden = false;
      setText(problem, error.message);
    }
    action.isBusy = false;
    draw();
    refocus();
  }

  /** Bring the focus back that a button lost, because it is disabled or hidden; or give it to the one in its place. */
  function refocus() {
    if (action.isBusy || document.activeElement !== document.body) return;
    buttons.find((button) => button.checkVisibility() && !button.disabled)?.focus({ preventScroll: true });
  }

  return action;
}
