// Figures and times as people read them.

/** A loss or the like: four digits that mean something. */
export function number(value) {
  if (typeof value !== "number") return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 4);
}

/** A whole number with separators, as the command line prints it. */
export function figure(count) {
  return count.toLocaleString("en-US");
}

/** A number of things: `1 row`, `1,200 rows`. */
export function many(count, noun) {
  return `${figure(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** A date and time of this place, in the browser's language. */
export function time(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? String(iso ?? "–") : date.toLocaleString();
}

/** How long ago that was. */
export function ago(iso, now = Date.now()) {
  const seconds = Math.floor((now - new Date(iso).getTime()) / 1000);
  if (Number.isNaN(seconds)) return String(iso ?? "–");
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 7 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(iso).toLocaleDateString();
}

/** A time span: `8 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`. */
export function duration(milliseconds) {
  if (!(milliseconds >= 0)) return "–";
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A size in bytes, KiB, MiB and so on. */
export function bytes(count) {
  if (typeof count !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (count >= 1024 && power < units.length - 1) {
    count /= 1024;
    power += 1;
  }
  return `${power === 0 ? count : count.toFixed(count < 10 ? 1 : 0)} ${units[power]}`;
}

function two(value) {
  return String(value).padStart(2, "0");
}

/** A text that begins with a capital letter. */
export function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
