// The reader of packed 4D assets; docs/site.md describes the format.

/** @typedef {{name: string, type: "u8" | "u16" | "u32", width: number, rows: number[], shared: boolean, delta: "none" | "row" | "frame",
 *   offset: number, bytes: number, low?: number[], high?: number[], log?: boolean}} Packed */

const BYTES = { u8: 1, u16: 2, u32: 4 };
const MAKE = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array };

/** Bytes from text with 15 bits a character, most significant bit first. @param {string} text @param {number} count */
export function fromText15(text, count) {
  const bytes = new Uint8Array(count);
  let bits = 0,
    held = 0,
    j = 0;
  for (let i = 0; i < text.length; i++) {
    bits = (bits << 15) | (text.charCodeAt(i) - 0x3400);
    held += 15;
    while (held >= 8 && j < count) {
      held -= 8;
      bytes[j++] = (bits >> held) & 255;
    }
    bits &= (1 << held) - 1;
  }
  if (j !== count)
    throw new Error(`This 3D object is damaged: ${count} bytes expected, ${j} found. Build the site again.`);
  return bytes;
}

/** @param {Uint8Array} packed @returns {Promise<Uint8Array>} */
async function inflate(packed) {
  const stream = new Blob([/** @type {any} */ (packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** One column of integers, out of planes of bytes. @param {Uint8Array} raw @param {Packed} array */
function column(raw, array, component) {
  const rows = array.rows.reduce((a, b) => a + b, 0);
  const size = BYTES[array.type];
  const out = new MAKE[array.type](rows);
  for (let b = 0; b < size; b++) {
    const plane = raw.subarray(
      array.offset + (component * size + b) * rows,
      array.offset + (component * size + b + 1) * rows,
    );
    for (let r = 0; r < rows; r++) out[r] |= plane[r] << (8 * b);
  }
  const back = array.delta === "row" ? 1 : array.delta === "frame" ? array.rows[0] : 0;
  if (back) for (let r = back; r < rows; r++) out[r] += out[r - back]; // typed arrays add modulo 2^bits
  return out;
}

/** One array of all frames. */
class Columns {
  /** @param {Uint8Array} raw @param {Packed} array */
  constructor(raw, array) {
    this.array = array;
    this.columns = Array.from({ length: array.width }, (_, c) => column(raw, array, c));
    this.starts = [0];
    for (const n of array.rows) this.starts.push(this.starts[this.starts.length - 1] + n);
    this.top = 2 ** (8 * BYTES[array.type]) - 1;
  }

  rows(frame) {
    return this.array.rows[this.array.shared ? 0 : frame];
  }

  /** Integers of a frame, [rows * width]. */
  integers(frame) {
    const out = new MAKE[this.array.type](this.rows(frame) * this.array.width);
    this.#interleave(frame, out, (v) => v);
    return out;
  }

  /** Values of a frame, [rows * width]: integers on their range from low to high. */
  values(frame) {
    const out = new Float32Array(this.rows(frame) * this.array.width);
    const { low, high, log } = this.array;
    this.#interleave(frame, out, (v, c) => {
      const value = low && high ? low[c] + (v / this.top) * (high[c] - low[c]) : v / this.top;
      return log ? Math.exp(value) : value;
    });
    return out;
  }

  #interleave(frame, out, map) {
    const start = this.starts[this.array.shared ? 0 : frame],
      rows = this.rows(frame),
      width = this.array.width;
    this.columns.forEach((from, c) => {
      for (let r = 0; r < rows; r++) out[r * width + c] = map(from[start + r], c);
    });
  }
}

/** @returns {Promise<Record<string, Columns>>} the arrays of an asset by name */
export async function unpack(asset) {
  const raw = await inflate(fromText15(asset.data, asset.packed));
  if (raw.length !== asset.bytes)
    throw new Error(
      `This 3D object is damaged: ${asset.bytes} bytes expected, ${raw.length} found. Build the site again.`,
    );
  return Object.fromEntries(asset.arrays.map((array) => [array.name, new Columns(raw, array)]));
}
