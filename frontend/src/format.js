// Numbers and names as text.

const LONGEST = 48; // characters of a name where it stands among others; its own page has it whole

export function short(name) {
  return name.length > LONGEST ? name.slice(0, LONGEST - 1) + "\u2026" : name;
}

const MINUS = "\u2212";

/** A value with so many decimals; a dash where there is none. */
export function number(value, decimals = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : MINUS + "\u221e";
  return value.toFixed(decimals).replace("-", MINUS);
}

export function interval(cell, decimals) {
  if (!cell || cell.low === null || cell.low === undefined) return "";
  return `${number(cell.low, decimals)} to ${number(cell.high, decimals)}`;
}

export function arrow(direction) {
  return direction === "higher" ? "\u2191" : "\u2193";
}

export function better(direction) {
  return direction === "higher" ? "higher is better" : "lower is better";
}

/** Seconds in words. */
export function seconds(value) {
  if (value === null || value === undefined) return "\u2013";
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  return value < 7200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "\u2013";
  if (value < 2 ** 20) return `${Math.max(1, Math.round(value / 1024))} KiB`;
  return value < 2 ** 30 ? `${Math.round(value / 2 ** 20)} MiB` : `${(value / 2 ** 30).toFixed(2)} GiB`;
}

/** Round values that split a range into about `count` parts. @returns {number[]} */
export function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((v) => v >= raw) ?? raw;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
}

/** A tick's text, without the noise of floating point. */
export function tick(value) {
  return String(Number(value.toPrecision(6))).replace("-", MINUS);
}
