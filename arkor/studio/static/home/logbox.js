// A box that shows what a program prints, and stays at its end unless somebody scrolled up to read.

import { h } from "../dom.js";
import { Terminal } from "./terminal.js";

const MOST_LINES = 5000;
const NEAR_PX = 12;

/** A log box: `write(text)`, `clear()`, `text` (all of it), `element`, `box` (what takes the focus), `close()`. */
export function createLogBox({ label, empty }) {
  const box = h("pre", { class: "log", role: "log", "aria-live": "off", "aria-label": label, tabindex: "0" });
  const placeholder = h("p", { class: "log-empty" }, empty);
  const jump = h("button", { class: "button button-small log-jump", type: "button", hidden: true, onclick: toEnd },
    "Jump to the end");
  const element = h("div", { class: "log-frame" }, box, placeholder, jump);
  let terminal = new Terminal();
  let changed = Infinity;
  let following = true;
  let frame = null;

  box.addEventListener("scroll", () => {
    following = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    jump.hidden = following;
  }, { passive: true });
  const sizes = new ResizeObserver(() => following && toEnd());
  sizes.observe(box);

  function write(text) {
    changed = Math.min(changed, terminal.write(text));
    frame ??= requestAnimationFrame(draw);
  }

  function draw() {
    frame = null;
    const { lines } = terminal;
    // One text node a line; the last line has no line feed, so that the box ends where the text does.
    for (let row = Math.min(changed, box.childNodes.length); row < lines.length; row += 1) {
      const text = row < lines.length - 1 ? `${lines[row]}\n` : lines[row];
      const node = box.childNodes[row];
      if (!node) box.append(document.createTextNode(text));
      else if (node.data !== text) node.data = text;
    }
    while (box.childNodes.length > lines.length) box.lastChild.remove();
    for (let gone = terminal.trim(MOST_LINES); gone > 0; gone -= 1) box.firstChild.remove();
    changed = Infinity;
    placeholder.hidden = lines.length > 1 || lines[0] !== "";
    if (following) toEnd();
  }

  function toEnd() {
    box.scrollTop = box.scrollHeight;
    following = true;
    jump.hidden = true;
  }

  function clear() {
    terminal = new Terminal();
    changed = 0;
    following = true;
    frame ??= requestAnimationFrame(draw);
  }

  function close() {
    cancelAnimationFrame(frame);
    sizes.disconnect();
  }

  return { element, box, write, clear, close };
}
