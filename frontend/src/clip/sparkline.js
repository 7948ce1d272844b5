// A metric over the frames of one clip, as a small line with a mark at the current frame.
import { s } from "../dom.js";
import { number } from "../format.js";

const W = 240,
  H = 44,
  PAD = 4;

/** @typedef {{element: SVGElement, at: (frame: number) => void}} Sparkline */

/**
 * @param {(number | null)[]} values one a frame, null where the metric is not measured
 * @param {[number, number]} range the same for all methods, so that heights compare
 * @param {(frame: number) => void} onpick
 * @returns {Sparkline}
 */
export function sparkline(values, range, decimals, label, onpick) {
  const [low, high] = range[1] > range[0] ? range : [range[0] - 1, range[0] + 1];
  const x = (k) => PAD + (values.length > 1 ? k / (values.length - 1) : 0.5) * (W - 2 * PAD);
  const y = (v) => H - PAD - ((v - low) / (high - low)) * (H - 2 * PAD);
  const points = values.map((v, k) => ({ v, k })).filter((p) => p.v !== null && p.v !== undefined);
  const cursor = s("line", { class: "cursor", y1: 0, y2: H });
  const mark = s("circle", { class: "mark", r: 3.5 });
  const ends = points.length
    ? `${label}: ${number(points[0].v, decimals)} at the first frame, ${number(points[points.length - 1].v, decimals)} at the last`
    : `${label}: no values`;
  const element = s(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": ends, preserveAspectRatio: "none" },
    s("polyline", { class: "line", points: points.map((p) => `${x(p.k)},${y(p.v)}`).join(" ") }),
    points.length < values.length / 2
      ? points.map((p) => s("circle", { class: "point", cx: x(p.k), cy: y(p.v), r: 1.8 }))
      : null,
    cursor,
    mark,
  );
  element.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const box = element.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * W - PAD) / (W - 2 * PAD);
    onpick(Math.round(Math.max(0, Math.min(1, share)) * (values.length - 1)));
  });
  return {
    element,
    at(frame) {
      cursor.setAttribute("x1", x(frame));
      cursor.setAttribute("x2", x(frame));
      const known = values[frame] !== null && values[frame] !== undefined;
      mark.setAttribute("visibility", known ? "visible" : "hidden");
      if (known) {
        mark.setAttribute("cx", x(frame));
        mark.setAttribute("cy", y(values[frame]));
      }
    },
  };
}

/** The range of a metric over all methods of a clip, in one view. @returns {[number, number]} */
export function rangeOf(methods, metric, view) {
  const values = methods
    .flatMap((m) => m.frames?.[metric]?.[view] ?? m.frames?.[metric]?.[""] ?? [])
    .filter((v) => v !== null);
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
}
