// One method of a clip: its video, its value, its curve.
import { address, badge, h, local } from "../dom.js";
import { number, short } from "../format.js";
import { sparkline } from "./sparkline.js";

/** @returns {{id: string, element: HTMLElement, show: (metric: any, range: [number, number]) => void}} */
export function card(clip, method, state, player, table) {
  const heading = method.isTruth
    ? method.title
    : h(
        "a",
        { href: local(table.methods.find((m) => m.id === method.id)?.page ?? "index.html") },
        short(method.title ?? method.id),
      );
  const video = h("video", {
    muted: true,
    playsinline: true,
    preload: "metadata",
    tabindex: "-1",
    "aria-label": `${method.title}, this view`,
  });
  video.muted = true;
  const missing = h("p", { class: "missing" });
  const picture = h("div", { class: "picture" }, video, missing);
  const below = h("div", { class: "below" });
  const element = h(
    "figure",
    { class: method.isTruth ? "card is-truth" : "card" },
    h(
      "figcaption",
      {},
      h("h2", {}, heading),
      method.status && method.status !== "ok"
        ? badge(method.status, method.status === "failed" ? "bad" : "plain", method.reason)
        : null,
    ),
    picture,
    below,
  );
  let line = null;
  const now = h("span", { class: "now" });
  /** @type {(number | null)[]} */ let curve = [];
  let decimals = 3;
  const mark = (frame) => {
    line?.at(frame);
    now.textContent =
      curve[frame] === null || curve[frame] === undefined ? "" : `now ${number(curve[frame], decimals)}`;
  };
  player.listeners.push(mark);
  player.add(video);

  function show(metric, range) {
    const error = state.error && !method.isTruth;
    const path = (error ? method.error : method.videos)?.[state.view];
    source(video, path, error ? null : method.posters?.[state.view]);
    missing.textContent = path
      ? ""
      : method.reason || method.pictures_note || (error ? "No difference for this view." : "No video of this view.");
    video.hidden = !path;
    line = null;
    below.replaceChildren();
    if (method.isTruth || !metric) return;
    const values = method.frames?.[metric.metric]?.[state.view] ?? method.frames?.[metric.metric]?.[""];
    below.append(h("p", { class: "values" }, value(method, metric, clip, state), now));
    [curve, decimals] = [values ?? [], metric.decimals];
    mark(player.frame);
    if (!values) return;
    line = sparkline(values, range, metric.decimals, `${metric.title} by frame`, (frame) => {
      player.pause();
      player.show(frame);
    });
    below.append(line.element);
    mark(player.frame);
  }
  return { id: method.id, element, show };
}

/** A video's source, left alone if it is the same. @param {HTMLVideoElement} video */
function source(video, path, poster) {
  if (poster) video.poster = local(poster);
  else video.removeAttribute("poster");
  const wanted = path ? local(path) : null;
  if (wanted === video.getAttribute("src")) return;
  if (wanted) video.src = wanted;
  else {
    video.removeAttribute("src");
    video.load();
  }
}

/** The clip's value of the metric in the view's group, with a link to how it was made. */
function value(method, metric, clip, state) {
  const group = clip.views.find((v) => v.id === state.view)?.group;
  const key = [`${metric.metric}[${group}]`, metric.metric].find((k) => k in (method.cells ?? {}));
  const text = `${metric.title} ${number(key ? method.cells[key] : null, metric.decimals)}`;
  return key
    ? h("a", { class: "value", href: local(address("number.html", { method: method.id, metric: key })) }, text)
    : h("span", { class: "value" }, text);
}
