// A box that shows what a program prints.

import { createTail } from "../tail.js";
import { Terminal } from "./terminal.js";

const MOST_LINES = 5000;

/** A log box: `write(text)`, `clear()`, `element`, `box` (what takes the focus), `close()`. */
export function createLogBox({ label, empty }) {
  const { element, box, changed, follow, close } = createTail({ label, empty, draw });
  let terminal = new Terminal();
  let first = Infinity; // row that is to be drawn anew

  function write(text) {
    first = Math.min(first, terminal.write(text));
    changed();
  }

  function draw() {
    const { lines } = terminal;
    // One text node a line; the last line has no line feed, so that the box ends where the text does.
    for (let row = Math.min(first, box.childNodes.length); row < lines.length; row += 1) {
      const text = row < lines.length - 1 ? `${lines[row]}\n` : lines[row];
      const node = box.childNodes[row];
      if (!node) box.append(document.createTextNode(text));
      else if (node.data !== text) node.data = text;
    }
    while (box.childNodes.length > lines.length) box.lastChild.remove();
    for (let gone = terminal.trim(MOST_LINES); gone > 0; gone -= 1) box.firstChild.remove();
    first = Infinity;
    return lines.length <= 1 && lines[0] === "";
  }

  function clear() {
    terminal = new Terminal();
    first = 0;
    follow();
    changed();
  }

  return { element, box, write, clear, close };
}
