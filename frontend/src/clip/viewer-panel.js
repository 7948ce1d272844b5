// The 3D part of the clip page: two outputs side by side, one camera, the page's frame.
import { forget, load, script } from "../data.js";
import { choice, h } from "../dom.js";
import { bytes } from "../format.js";

/** @returns {{element: HTMLElement, view: (id: string) => void}} */
export function viewerPanel(clip, player, state, asked) {
  const sources = [
    { key: "truth", title: "Truth", asset: clip.truth.asset },
    ...clip.methods.map((m) => ({ key: m.key ?? m.id, id: m.id, title: m.title ?? m.id, asset: m.asset })),
  ].filter((m) => m.asset);
  const section = h("section", { class: "viewer" }, h("h2", { id: "viewer" }, "In 3D"));
  if (!sources.length) {
    section.append(h("p", { class: "note" }, "No method of this clip made a 3D object that can be shown."));
    return { element: section, view: () => {} };
  }
  const right = sources.find((m) => m.id === asked) ?? sources.find((m) => m.key !== "truth") ?? sources[0];
  let pair = null;
  const open = h("button", { type: "button", class: "open" }, "Show in 3D");
  open.addEventListener("click", async () => {
    open.disabled = true;
    open.textContent = "Loading\u2026";
    try {
      pair = await start(clip, sources, [sources[0], right], player, state);
      open.replaceWith(pair.element);
    } catch (error) {
      open.replaceWith(h("p", { class: "warning", role: "alert" }, error.message));
    }
  });
  section.append(
    h(
      "p",
      { class: "note" },
      "Turn two outputs together: drag, or use the arrow keys; wheel or + and \u2212 to come closer; 0 for the camera of the video. The time is that of the slider above.",
    ),
    open,
  );
  return { element: section, view: (id) => pair?.view(id) };
}

async function start(clip, sources, chosen, player, state) {
  const canvas = document.createElement("canvas");
  if (!canvas.getContext("webgl2"))
    throw new Error(
      "This browser cannot draw in 3D: it has no WebGL 2, or it is switched off. The videos above show the same outputs.",
    );
  await script("static/viewer.js");
  const { Viewer, Orbit } = /** @type {any} */ (window).BENCH4D.viewer;
  const orbit = new Orbit();
  const panes = chosen.map((source, k) => pane(clip, sources, source, k, player, orbit, Viewer));
  const go = (id) => {
    const view = clip.views.find((v) => v.id === id);
    if (view && view.azimuth !== undefined) orbit.turnTo(view.azimuth, view.elevation);
  };
  player.listeners.push((frame) => panes.forEach((p) => p.viewer.show(frame)));
  await Promise.all(panes.map((p) => p.ready));
  go(state.view);
  return {
    element: h(
      "div",
      { class: "panes" },
      panes.map((p) => p.element),
    ),
    view: go,
  };
}

function pane(clip, sources, source, side, player, orbit, Viewer) {
  const canvas = h("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": "3D view: arrow keys turn it, plus and minus zoom, 0 resets",
    width: 512,
    height: 512,
  });
  const told = h("p", { class: "note", role: "status" });
  const viewer = new Viewer(canvas, orbit);
  const use = async (wanted) => {
    told.textContent = "Loading\u2026";
    try {
      const asset = await load(wanted.asset);
      await viewer.load(asset);
      forget(wanted.asset);
      viewer.show(player.frame);
      told.textContent = [describe(asset), asset.note].filter(Boolean).join(" ");
    } catch (error) {
      told.textContent = error.message;
    }
  };
  const select = choice(
    side ? "Right" : "Left",
    sources.map((m) => ({ value: m.key, title: m.title })),
    source.key,
    (key) => use(sources.find((m) => m.key === key)),
  );
  return { viewer, ready: use(source), element: h("div", { class: "pane" }, select, canvas, told) };
}

function describe(asset) {
  const what = asset.kind === "gaussians" ? "Gaussians" : "triangles";
  const rows = asset.arrays.find((a) => a.name === (asset.kind === "gaussians" ? "center" : "face"))?.rows ?? [];
  const size = rows.length ? ` (${Math.max(...rows).toLocaleString("en")} a frame)` : "";
  return `${what[0].toUpperCase()}${what.slice(1)}${size}, ${bytes(asset.packed)}.`;
}
