// Triangles with a colour per vertex or a texture, unlit, as bench4d's renderer draws them.
import { program, texture } from "./gl.js";

const VERTEX = `
in vec3 position;
in vec4 color;
in vec2 uv;
uniform vec3 eye, right, down, forward;
uniform vec2 size;
uniform float focal;
out vec4 tint;
out vec2 place;
void main() {
  vec3 w = position - eye, p = vec3(dot(right, w), dot(down, w), dot(forward, w));
  tint = color;
  place = uv;
  const float near = 0.05, far = 100.0;
  gl_Position = vec4(p.x * 2.0 * focal / size.x, -p.y * 2.0 * focal / size.y, ((far + near) * p.z - 2.0 * far * near) / (far - near), p.z);
}`;

const FRAGMENT = `
in vec4 tint;
in vec2 place;
uniform sampler2D image;
uniform bool textured;
out vec4 seen;
void main() {
  vec4 c = textured ? texture(image, place) : tint;
  if (c.a < 0.5) discard;
  seen = vec4(c.rgb, 1.0);
}`;

export class Meshes {
  /** @param {WebGL2RenderingContext} gl @param {HTMLImageElement[]} images */
  constructor(gl, arrays, images) {
    this.gl = gl;
    this.arrays = arrays;
    this.images = images;
    this.program = program(gl, VERTEX, FRAGMENT);
    this.image = texture(gl, 0, gl.LINEAR);
    this.vao = gl.createVertexArray();
    this.buffers = {
      position: gl.createBuffer(),
      color: gl.createBuffer(),
      uv: gl.createBuffer(),
      face: gl.createBuffer(),
    };
    this.frame = -1;
    this.count = 0;
  }

  #use(frame) {
    if (frame === this.frame) return;
    this.frame = frame;
    const { gl, arrays, buffers } = this;
    gl.bindVertexArray(this.vao);
    this.#attribute("position", arrays.position.values(frame), 3, gl.FLOAT, false);
    if (arrays.color) this.#attribute("color", arrays.color.integers(frame), 4, gl.UNSIGNED_BYTE, true);
    if (arrays.uv) this.#attribute("uv", arrays.uv.values(frame), 2, gl.FLOAT, false);
    const faces = Uint32Array.from(arrays.face.integers(frame));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.face);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.DYNAMIC_DRAW);
    this.count = faces.length;
    if (!this.images.length) return;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.image);
    gl.texImage2D(
      gl.TEXTURE_2D,
      0,
      gl.RGBA,
      gl.RGBA,
      gl.UNSIGNED_BYTE,
      this.images[Math.min(frame, this.images.length - 1)],
    );
  }

  #attribute(name, data, width, type, normalized) {
    const { gl } = this;
    const at = gl.getAttribLocation(this.program, name);
    if (at < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, type, normalized, 0, 0);
  }

  draw(frame, camera, width, height) {
    const { gl } = this;
    this.#use(frame);
    const {
      rows: [right, down, forward],
      eye,
    } = camera.pose();
    gl.useProgram(this.program);
    const at = (name) => gl.getUniformLocation(this.program, name);
    for (const [name, value] of Object.entries({ eye, right, down, forward })) gl.uniform3fv(at(name), value);
    gl.uniform2f(at("size"), width, height);
    gl.uniform1f(at("focal"), camera.focal(height));
    gl.uniform1i(at("image"), 0);
    gl.uniform1i(at("textured"), this.images.length ? 1 : 0);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.image);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    gl.bindVertexArray(this.vao);
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_INT, 0);
  }

  free() {
    const { gl } = this;
    Object.values(this.buffers).forEach((b) => gl.deleteBuffer(b));
    gl.deleteTexture(this.image);
    gl.deleteVertexArray(this.vao);
    gl.deleteProgram(this.program);
  }
}

/** @param {string[]} addresses data URLs @returns {Promise<HTMLImageElement[]>} */
export function images(addresses) {
  return Promise.all(
    addresses.map(async (address) => {
      if (!address.startsWith("data:image/"))
        throw new Error("A texture of this 3D object is no picture. Build the site again.");
      const image = new Image();
      image.src = address;
      await image.decode();
      return image;
    }),
  );
}
