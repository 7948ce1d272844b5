// Gaussians, drawn by the rules of bench4d/render/gaussians_cpu.py (EWA splatting of 3DGS), sorted on the CPU before each
// picture: what is on the screen is always the frame and the camera asked for, in the right order.
import { program, texture } from "./gl.js";

const ROW = 1024; // Gaussians in a row of the data texture
const KEYS = 1 << 16;

const VERTEX = `
in uint index;
uniform sampler2D geometry; // 3 texels each: x y z -, covariance xx xy xz yy, yz zz - -
uniform sampler2D colors;
uniform vec3 eye, right, down, forward;
uniform vec2 size;          // pixels
uniform float focal, dilation;
uniform bool compensate;
out vec2 offset;            // in standard deviations
out vec4 color;
void main() {
  int n = int(index), column = (n & ${ROW - 1}) * 3, row = n >> 10;
  vec3 world = texelFetch(geometry, ivec2(column, row), 0).xyz - eye;
  vec4 b = texelFetch(geometry, ivec2(column + 1, row), 0), c = texelFetch(geometry, ivec2(column + 2, row), 0);
  color = texelFetch(colors, ivec2(n & ${ROW - 1}, row), 0);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // outside: not drawn
  vec3 p = vec3(dot(right, world), dot(down, world), dot(forward, world));
  if (p.z < 0.2) return;
  vec2 limit = 1.3 * size / (2.0 * focal), t = clamp(p.xy / p.z, -limit, limit);
  float scale = focal / p.z;
  vec3 u = scale * (right - t.x * forward), v = scale * (down - t.y * forward);
  mat3 s = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);
  float xx = dot(u, s * u), xy = dot(u, s * v), yy = dot(v, s * v);
  float before = xx * yy - xy * xy;
  xx += dilation; yy += dilation;
  float det = xx * yy - xy * xy;
  if (compensate) {
    if (before <= 1e-6 || det <= 1e-6) return;
    color.a *= sqrt(before / (det + 1e-6) + 1e-6);
  }
  if (det <= 0.0 || color.a < 1.0 / 255.0) return;
  float mean = 0.5 * (xx + yy), spread = sqrt(max(mean * mean - det, 0.0));
  float large = mean + spread, small = max(mean - spread, 1e-9);
  vec2 axis = abs(xy) > 1e-9 ? normalize(vec2(xy, large - xx)) : (xx >= yy ? vec2(1, 0) : vec2(0, 1));
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  offset = corner * sqrt(2.0 * log(color.a * 255.0));
  vec2 pixel = p.xy * scale + axis * offset.x * sqrt(large) + vec2(-axis.y, axis.x) * offset.y * sqrt(small);
  gl_Position = vec4(pixel.x * 2.0 / size.x, -pixel.y * 2.0 / size.y, 0.0, 1.0);
}`;

const FRAGMENT = `
in vec2 offset;
in vec4 color;
out vec4 seen;
void main() {
  float alpha = min(0.99, color.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  seen = vec4(color.rgb * alpha, alpha);
}`;

/** Order of points from far to near, by a counting sort of 65536 depths. @returns {Uint32Array} */
export function farToNear(/** @type {Float32Array} */ positions, /** @type {number[]} */ forward) {
  const n = positions.length / 3;
  const depths = new Float32Array(n);
  let low = Infinity,
    high = -Infinity;
  for (let k = 0; k < n; k++) {
    const d = (depths[k] =
      positions[3 * k] * forward[0] + positions[3 * k + 1] * forward[1] + positions[3 * k + 2] * forward[2]);
    if (d < low) low = d;
    if (d > high) high = d;
  }
  const keys = new Uint16Array(n),
    starts = new Uint32Array(KEYS + 1),
    order = new Uint32Array(n);
  const factor = high > low ? (KEYS - 1) / (high - low) : 0;
  for (let k = 0; k < n; k++) {
    keys[k] = (high - depths[k]) * factor;
    starts[keys[k] + 1]++;
  }
  for (let k = 0; k < KEYS; k++) starts[k + 1] += starts[k];
  for (let k = 0; k < n; k++) order[starts[keys[k]]++] = k;
  return order;
}

/** Covariances of Gaussians with centres, as three texels each. @returns {Float32Array} */
function texels(center, scale, rotation) {
  const n = center.length / 3,
    out = new Float32Array(Math.ceil(n / ROW) * ROW * 12);
  const q = [0, 0, 0, 0];
  for (let k = 0; k < n; k++) {
    threeOf(rotation, k, q);
    const [w, x, y, z] = q,
      a = scale[3 * k],
      b = scale[3 * k + 1],
      c = scale[3 * k + 2];
    const m0 = a * (1 - 2 * (y * y + z * z)),
      m1 = b * 2 * (x * y - w * z),
      m2 = c * 2 * (x * z + w * y);
    const m3 = a * 2 * (x * y + w * z),
      m4 = b * (1 - 2 * (x * x + z * z)),
      m5 = c * 2 * (y * z - w * x);
    const m6 = a * 2 * (x * z - w * y),
      m7 = b * 2 * (y * z + w * x),
      m8 = c * (1 - 2 * (x * x + y * y));
    out.set(
      [
        center[3 * k],
        center[3 * k + 1],
        center[3 * k + 2],
        0,
        m0 * m0 + m1 * m1 + m2 * m2,
        m0 * m3 + m1 * m4 + m2 * m5,
        m0 * m6 + m1 * m7 + m2 * m8,
        m3 * m3 + m4 * m4 + m5 * m5,
        m3 * m6 + m4 * m7 + m5 * m8,
        m6 * m6 + m7 * m7 + m8 * m8,
        0,
        0,
      ],
      12 * k,
    );
  }
  return out;
}

/** Unit quaternion (w, x, y, z) number k, stored as its three smaller parts and which one is left out. */
export function threeOf(bytes, k, q) {
  const left = bytes[4 * k + 3];
  let rest = 1,
    j = 4 * k;
  for (let i = 0; i < 4; i++) {
    if (i === left) continue;
    q[i] = ((bytes[j++] / 255) * 2 - 1) * Math.SQRT1_2;
    rest -= q[i] * q[i];
  }
  q[left] = Math.sqrt(Math.max(0, rest));
}

export class Splats {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl, asset, arrays) {
    this.gl = gl;
    this.arrays = arrays;
    this.dilation = asset.dilation ?? 0.3;
    this.compensate = asset.compensate ?? false;
    this.program = program(gl, VERTEX, FRAGMENT);
    this.geometry = texture(gl, 0);
    this.colors = texture(gl, 1);
    this.order = gl.createBuffer();
    this.vao = gl.createVertexArray();
    gl.bindVertexArray(this.vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    const index = gl.getAttribLocation(this.program, "index");
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
    this.frame = -1;
    this.positions = new Float32Array(0);
  }

  #use(frame) {
    if (frame === this.frame) return;
    this.frame = frame;
    const { gl, arrays } = this;
    this.positions = arrays.center.values(frame);
    const rows = Math.max(1, Math.ceil(this.positions.length / 3 / ROW));
    const colors = new Uint8Array(rows * ROW * 4);
    colors.set(arrays.color.integers(frame));
    const data = texels(this.positions, arrays.scale.values(frame), arrays.rotation.integers(frame));
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    upload(gl, 0, this.geometry, gl.RGBA32F, ROW * 3, rows, gl.FLOAT, data);
    upload(gl, 1, this.colors, gl.RGBA8, ROW, rows, gl.UNSIGNED_BYTE, colors);
  }

  draw(frame, camera, width, height) {
    const { gl } = this;
    this.#use(frame);
    if (!this.positions.length) return;
    const {
      rows: [right, down, forward],
      eye,
    } = camera.pose();
    gl.useProgram(this.program);
    const at = (name) => gl.getUniformLocation(this.program, name);
    const textures = { geometry: this.geometry, colors: this.colors };
    Object.entries(textures).forEach(([name, made], unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, made);
      gl.uniform1i(at(name), unit);
    });
    for (const [name, value] of Object.entries({ eye, right, down, forward })) gl.uniform3fv(at(name), value);
    gl.uniform2f(at("size"), width, height);
    gl.uniform1f(at("focal"), camera.focal(height));
    gl.uniform1f(at("dilation"), this.dilation);
    gl.uniform1i(at("compensate"), this.compensate ? 1 : 0);
    gl.bindVertexArray(this.vao);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    gl.bufferData(gl.ARRAY_BUFFER, farToNear(this.positions, forward), gl.DYNAMIC_DRAW);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.positions.length / 3);
  }

  free() {
    const { gl } = this;
    gl.deleteTexture(this.geometry);
    gl.deleteTexture(this.colors);
    gl.deleteBuffer(this.order);
    gl.deleteVertexArray(this.vao);
    gl.deleteProgram(this.program);
  }
}

function upload(gl, unit, made, format, width, height, type, data) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, made);
  gl.texImage2D(gl.TEXTURE_2D, 0, format, width, height, 0, gl.RGBA, type, data);
}
