// One clock for all videos. Every frame is sought in all of them and shown when all have it, so none runs ahead; a slow
// machine plays slower instead of out of step. Videos have closed groups of one picture, so seeking is exact.

const PATIENCE = 2000; // ms: a video that cannot seek by then is left behind rather than stopping the others

export class Player {
  /** @param {number} frames @param {number} fps */
  constructor(frames, fps) {
    this.frames = frames;
    this.fps = fps;
    this.frame = 0;
    this.speed = 1;
    this.playing = false;
    /** @type {Set<HTMLVideoElement>} */ this.visible = new Set();
    /** @type {((frame: number) => void)[]} */ this.listeners = [];
    /** @type {(() => void)[]} */ this.stateListeners = [];
    /** @type {number | null} */ this.wanted = null;
    /** @type {Promise<void> | null} */ this.busy = null;
    this.watcher = new IntersectionObserver(
      (entries) => entries.forEach((e) => this.#seen(/** @type {any} */ (e.target), e.isIntersecting)),
      { rootMargin: "200px" },
    );
  }

  /** Keeps a video in step from now on. @param {HTMLVideoElement} video */
  add(video) {
    this.watcher.observe(video);
    video.addEventListener("loadeddata", () => {
      if (this.visible.has(video)) seek(video, this.frame, this.fps);
    });
  }

  #seen(video, visible) {
    if (!visible) {
      this.visible.delete(video);
      return;
    }
    this.visible.add(video);
    if (video.preload !== "auto") video.preload = "auto";
    seek(video, this.frame, this.fps);
  }

  /** Shows a frame everywhere; asked for another one meanwhile, it goes on to the latest. @param {number} frame @returns {Promise<void>} */
  show(frame) {
    this.wanted = Math.max(0, Math.min(this.frames - 1, frame));
    this.busy ??= this.#catchUp().finally(() => {
      this.busy = null;
    });
    return this.busy;
  }

  async #catchUp() {
    while (this.wanted !== null) {
      const frame = (this.frame = this.wanted);
      this.wanted = null;
      await Promise.all([...this.visible].map((video) => seek(video, frame, this.fps)));
      for (const listener of this.listeners) listener(frame);
    }
  }

  async play() {
    if (this.playing) return;
    this.playing = true;
    this.stateListeners.forEach((f) => f());
    let due = performance.now();
    while (this.playing) {
      const period = 1000 / (this.fps * this.speed);
      due = Math.max(due + period, performance.now());
      await this.show((this.frame + 1) % this.frames);
      await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
    }
  }

  pause() {
    this.playing = false;
    this.stateListeners.forEach((f) => f());
  }
}

/** @param {HTMLVideoElement} video @returns {Promise<void>} */
function seek(video, frame, fps) {
  const time = (frame + 0.5) / fps; // the middle of the frame: no rounding can miss it
  if (video.readyState < 1 || video.error || Math.abs(video.currentTime - time) < 1e-4) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, PATIENCE);
    function done() {
      clearTimeout(timer);
      video.removeEventListener("seeked", done);
      resolve();
    }
    video.addEventListener("seeked", done);
    video.currentTime = time;
  });
}
