// A camera on a sphere around the object, shared by the viewers that are linked. Conventions of bench4d/cameras.py: z up,
// azimuth 0 on the -y axis, counter-clockwise seen from above; camera axes x right, y down, z forward.

const RADIANS = Math.PI / 180;

export class Orbit {
  constructor() {
    this.azimuth = 0;
    this.elevation = 15;
    this.distance = 2;
    this.fov = 40;
    this.target = [0, 0, 0];
    /** @type {{azimuth: number, elevation: number, distance: number} | null} */ this.home = null;
    /** @type {(() => void)[]} */ this.listeners = [];
  }

  /** Takes an asset's own camera as the place to start from; the first asset decides. */
  settle(camera) {
    if (this.home || !camera) return;
    const d = camera.position.map((v, k) => v - camera.target[k]);
    this.distance = Math.hypot(...d);
    this.fov = camera.fov_y;
    this.target = camera.target;
    this.home = {
      azimuth: Math.atan2(d[0], -d[1]) / RADIANS,
      elevation: Math.asin(d[2] / this.distance) / RADIANS,
      distance: this.distance,
    };
    this.reset();
  }

  turnTo(azimuth, elevation) {
    this.azimuth = azimuth;
    this.elevation = Math.max(-89, Math.min(89, elevation));
    this.listeners.forEach((f) => f());
  }

  zoom(factor) {
    this.distance = Math.max(0.3, Math.min(20, this.distance * factor));
    this.listeners.forEach((f) => f());
  }

  reset() {
    if (this.home) Object.assign(this, this.home);
    this.listeners.forEach((f) => f());
  }

  /** World to camera: the three rows of the rotation and the eye. */
  pose() {
    const [a, e] = [this.azimuth * RADIANS, this.elevation * RADIANS];
    const out = [Math.sin(a) * Math.cos(e), -Math.cos(a) * Math.cos(e), Math.sin(e)];
    const eye = out.map((v, k) => this.target[k] + v * this.distance);
    const right = [Math.cos(a), Math.sin(a), 0];
    const forward = out.map((v) => -v);
    const down = [
      forward[1] * right[2] - forward[2] * right[1],
      forward[2] * right[0] - forward[0] * right[2],
      forward[0] * right[1] - forward[1] * right[0],
    ];
    return { rows: [right, down, forward], eye };
  }

  /** Focal length in pixels of an image so high. */
  focal(height) {
    return height / 2 / Math.tan((this.fov * RADIANS) / 2);
  }

  /** Drag, wheel and keys on a canvas. @param {HTMLCanvasElement} canvas */
  attach(canvas) {
    /** @type {Map<number, PointerEvent>} */
    const held = new Map();
    canvas.addEventListener("pointerdown", (e) => {
      held.set(e.pointerId, e);
      canvas.setPointerCapture(e.pointerId);
    });
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (e) => held.delete(/** @type {any} */ (e).pointerId));
    canvas.addEventListener("pointermove", (e) => {
      const last = held.get(e.pointerId);
      if (!last) return;
      if (held.size === 2) {
        const other = [...held.values()].find((p) => p.pointerId !== e.pointerId) ?? e;
        const far = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
        this.zoom(far(last) / far(e));
      } else {
        this.turnTo(this.azimuth - (e.clientX - last.clientX) * 0.5, this.elevation + (e.clientY - last.clientY) * 0.5);
      }
      held.set(e.pointerId, e);
    });
    canvas.addEventListener(
      "wheel",
      (e) => {
        e.preventDefault();
        this.zoom(Math.exp(e.deltaY * 0.001));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (e) => {
      if (this.#key(e.key)) e.preventDefault();
    });
  }

  #key(key) {
    const turns = { ArrowLeft: [5, 0], ArrowRight: [-5, 0], ArrowUp: [0, 5], ArrowDown: [0, -5] };
    if (turns[key]) this.turnTo(this.azimuth + turns[key][0], this.elevation + turns[key][1]);
    else if (key === "+" || key === "=") this.zoom(1 / 1.1);
    else if (key === "-") this.zoom(1.1);
    else if (key === "0") this.reset();
    else return false;
    return true;
  }
}
