// JSON as people write it and models say it: where it is wrong, and how it reads well.

const LONGEST = 200000;
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/.source;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/.source;
const PIECE = new RegExp(`[ \\t\\n\\r]*([{}[\\]:,]|${STRING}|${NUMBER}|true|false|null)`, "y");
const AFTER_OPEN = { "{": "first key", "[": "first value" };
const CLOSED_BY = { "{": "}", "[": "]" };

/** Read a text: `{value, error}`. The error is a sentence that names the line. */
export function readJson(text) {
  try {
    return { value: JSON.parse(text), error: null };
  } catch {
    return { value: undefined, error: describe(text, faultOf(text)) };
  }
}

/** Return valid JSON in lines, each value as it was written; a huge one as it is. */
export function pretty(text) {
  if (text.length > LONGEST) return text;
  let out = "";
  let depth = 0;
  let before = "";
  for (const { piece } of pieces(text)) {
    const closes = piece === "}" || piece === "]";
    if (closes) depth -= 1;
    if (before === "," || (CLOSED_BY[before] ? !closes : closes)) out += `\n${"  ".repeat(depth)}`;
    out += piece === ":" ? ": " : piece;
    if (CLOSED_BY[piece]) depth += 1;
    before = piece;
  }
  return out;
}

function* pieces(text) {
  for (let at = 0; ;) {
    PIECE.lastIndex = at;
    const found = PIECE.exec(text);
    if (!found) return;
    const end = PIECE.lastIndex;
    yield { piece: found[1], at: end - found[1].length };
    at = end;
  }
}

// The browsers' own messages name a place in some cases only. Returns the offset of what does not fit.
function faultOf(text) {
  const open = [];
  let expected = "value";
  let end = 0;
  for (const { piece, at } of pieces(text)) {
    expected = step(piece, expected, open);
    if (expected === null) return at;
    end = at + piece.length;
  }
  return end + /^[ \t\n\r]*/.exec(text.slice(end))[0].length;
}

// What may follow a piece, or null where it does not fit.
function step(piece, expected, open) {
  const after = () => (open.length ? "more" : "end");
  const inside = open.at(-1);
  if (piece === CLOSED_BY[inside] && (expected === "more" || expected.startsWith("first"))) {
    open.pop();
    return after();
  }
  if (expected === "more") return piece !== "," ? null : inside === "{" ? "key" : "value";
  if (expected === ":") return piece === ":" ? "value" : null;
  if (expected.endsWith("key")) return piece[0] === '"' ? ":" : null;
  if (expected === "end" || /[}\]:,]/.test(piece[0])) return null;
  if (!CLOSED_BY[piece]) return after();
  open.push(piece);
  return AFTER_OPEN[piece];
}

function describe(text, at) {
  const line = text.slice(0, at).split("\n").length;
  if (at >= text.length) return `Line ${line}: the text ends before the JSON does.`;
  if (text[at] === '"') return `Line ${line}: a text in quotes does not end on its line, or has a backslash too many.`;
  const [word] = /^(?:[\w.+-]{1,20}|[^])/u.exec(text.slice(at, at + 20));
  return `Line ${line}: ${word} does not belong here.`;
}
