// Entry of the 3D bundle, loaded when a reader asks for it: BENCH4D.viewer = { Viewer, Orbit }.
import { Meshes, images } from "./mesh.js";
import { Orbit } from "./orbit.js";
import { Splats } from "./splats.js";
import { unpack } from "./unpack.js";

const MOST = 1024; // pixels a side
const MOST_SLOW = 320; // where a processor draws instead of a graphics card

class Viewer {
  /** @param {HTMLCanvasElement} canvas @param {Orbit} orbit shared with the viewers that turn together */
  constructor(canvas, orbit) {
    this.canvas = canvas;
    this.orbit = orbit;
    this.gl = canvas.getContext("webgl2", { alpha: false, antialias: true });
    if (!this.gl) throw new Error("This browser cannot draw in 3D: it has no WebGL 2, or it is switched off.");
    /** @type {Splats | Meshes | null} */ this.scene = null;
    this.most = software(this.gl) ? MOST_SLOW : MOST;
    this.frame = 0;
    this.frames = 1;
    this.waiting = false;
    orbit.attach(canvas);
    orbit.listeners.push(() => this.request());
    new ResizeObserver(() => this.request()).observe(canvas);
  }

  /** Shows an asset from now on. Nothing changes if it cannot be read. */
  async load(asset) {
    const arrays = await unpack(asset);
    const textures = await images(asset.textures ?? []);
    const scene =
      asset.kind === "gaussians" ? new Splats(this.gl, asset, arrays) : new Meshes(this.gl, arrays, textures);
    this.scene?.free();
    this.scene = scene;
    this.frames = asset.frames;
    this.orbit.settle(asset.camera);
    this.request();
  }

  show(frame) {
    this.frame = frame;
    this.request();
  }

  request() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const { canvas, gl } = this;
    const side = Math.max(1, Math.min(this.most, Math.round(canvas.clientWidth * devicePixelRatio)));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    gl.viewport(0, 0, side, side);
    gl.clearColor(1, 1, 1, 1); // as the background of the videos
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const frame = Math.min(this.frame, this.frames - 1);
    this.scene?.draw(frame, this.orbit, side, side);
    canvas.dataset.shown = this.scene ? `${frame} ${this.orbit.azimuth} ${this.orbit.elevation}` : "";
  }
}

/** @param {WebGL2RenderingContext} gl */
function software(gl) {
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  return !!known && /swiftshader|llvmpipe|software/i.test(String(gl.getParameter(known.UNMASKED_RENDERER_WEBGL)));
}

/** @type {any} */ (window).BENCH4D.viewer = { Viewer, Orbit };
