// What a program prints, as a terminal would show it: carriage returns, backspaces and escape sequences are obeyed
// where they move within the last lines (progress bars do that), and dropped where they only colour.

const TOKEN = /\x1b\[([0-9;?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\n\r\b\t\f\v]|[^\x00-\x1f\x7f\x1b]+|[\x00-\x1f\x7f]/gu;
const CUT = /\x1b(?:\[[0-9;?]*[ -/]*|\][^\x07\x1b\n]*\x1b?|[ -/]*)?$/;
const LONGEST_SEQUENCE = 512;
const TAB = 8;

/** A screen without a height. `lines` are its lines; `write` returns the index of the first line that changed. */
export class Terminal {
  constructor() {
    this.lines = [""];
    this.row = 0;
    this.column = 0;
    this.kept = "";
  }

  write(text) {
    text = this.kept + text;
    const cut = CUT.exec(text);
    this.kept = cut && cut[0].length < LONGEST_SEQUENCE ? cut[0] : "";
    text = text.slice(0, text.length - this.kept.length);
    let first = this.row;
    for (const [token, parameters, command] of text.matchAll(TOKEN)) {
      if (command) this.#sequence(command, Number.parseInt(parameters, 10) || 0);
      else this.#put(token);
      first = Math.min(first, this.row);
    }
    return first;
  }

  /** Forget all but the last lines; returns how many are gone. */
  trim(most) {
    const gone = Math.max(0, this.lines.length - most);
    this.lines.splice(0, gone);
    this.row = Math.max(0, this.row - gone);
    return gone;
  }

  #put(token) {
    if (token === "\n") this.#down(1, true);
    else if (token === "\r") this.column = 0;
    else if (token === "\b") this.column = Math.max(0, this.column - 1);
    else if (token === "\t") this.#print(" ".repeat(TAB - (this.column % TAB)));
    else if (token >= " " && token !== "\x7f") this.#print(token);
  }

  #print(text) {
    const line = this.lines[this.row].padEnd(this.column);
    this.lines[this.row] = line.slice(0, this.column) + text + line.slice(this.column + text.length);
    this.column += text.length;
  }

  #sequence(command, count) {
    const line = this.lines[this.row];
    if (command === "A") this.row = Math.max(0, this.row - (count || 1));
    else if (command === "B") this.#down(count || 1, false);
    else if (command === "C") this.column += Math.min(count || 1, 1000);
    else if (command === "D") this.column = Math.max(0, this.column - (count || 1));
    else if (command === "G") this.column = Math.min(Math.max(0, count - 1), 1000);
    else if (command === "K" && count === 0) this.lines[this.row] = line.slice(0, this.column);
    else if (command === "K" && count === 1) this.lines[this.row] = " ".repeat(this.column) + line.slice(this.column);
    else if (command === "K") this.lines[this.row] = "";
  }

  #down(count, toStart) {
    // Only a line feed makes lines: no sequence can ask for a million of them.
    if (toStart && this.row === this.lines.length - 1) this.lines.push("");
    this.row = Math.min(this.row + count, this.lines.length - 1);
    if (toStart) this.column = 0;
  }
}
