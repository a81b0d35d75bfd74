// A box of text that stays at its end unless somebody scrolled up to read.

import { h, setText } from "./dom.js";

const NEAR_PX = 12;

/**
 * The box: `element`, and in it `box` for the text, which takes the focus. `draw()` fills it, and returns whether it is
 * empty; `changed()` has that done soon, and follows the end; `follow()` follows it again; `close()`. Until the first
 * `changed()` the box says `unknown`.
 */
export function createTail({ label, empty, unknown = empty, draw }) {
  const box = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": label, tabindex: "0" });
  const placeholder = h("p", { class: "log-empty" }, unknown);
  const jump = h("button", { class: "button button-small log-jump", type: "button", hidden: true, onclick: toEnd },
    "Jump to the end");
  const element = h("div", { class: "log-frame" }, box, placeholder, jump);
  let following = true;
  let frame = null;

  box.addEventListener("scroll", () => {
    following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    jump.hidden = following;
  }, { passive: true });
  const sizes = new ResizeObserver(() => following && toEnd());
  sizes.observe(box);

  function changed() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      placeholder.hidden = !draw();
      setText(placeholder, empty);
      if (following) toEnd();
    });
  }

  function toEnd() {
    box.scrollTop = box.scrollHeight;
    follow();
  }

  function follow() {
    following = true;
    jump.hidden = true;
  }

  function close() {
    cancelAnimationFrame(frame);
    sizes.disconnect();
  }

  return { element, box, changed, follow, close };
}
