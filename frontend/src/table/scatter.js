// Quality against cost, one point a method.
import { choice, h, local, s } from "../dom.js";
import { arrow, number, short, tick, ticks } from "../format.js";
import { titleOf } from "./columns.js";

const H = 340,
  LEFT = 64,
  TOP = 16,
  BOTTOM = 48;
const W = Math.max(330, Math.min(660, innerWidth - 28)),
  RIGHT = W < 500 ? 90 : 120; // text keeps its size on a phone

export function scatter(table) {
  const costs = table.metrics.filter((c) => !c.quality);
  const qualities = table.metrics.filter((c) => c.quality);
  if (!costs.length || !qualities.length) return null;
  const state = { x: costs[0].id, y: qualities[0].id };
  const holder = h("div", { class: "plot" });
  const name = (c) => (c.group ? `${c.title}, ${titleOf(c.group).toLowerCase()}` : c.title);
  const options = (columns) => columns.map((c) => ({ value: c.id, title: name(c) }));
  const draw = () =>
    holder.replaceChildren(
      plot(
        table,
        table.metrics.find((c) => c.id === state.x),
        table.metrics.find((c) => c.id === state.y),
      ),
    );
  draw();
  return h(
    "section",
    {},
    h("h2", {}, "Quality against cost"),
    h(
      "div",
      { class: "toolbar" },
      choice("Quality", options(qualities), state.y, (value) => {
        state.y = value;
        draw();
      }),
      choice("Cost", options(costs), state.x, (value) => {
        state.x = value;
        draw();
      }),
    ),
    holder,
    table.methods.some((m) => m.outside_ranks)
      ? h("p", { class: "note" }, "Hollow: made with knowledge of the true object.")
      : null,
  );
}

/** @returns {Node} */
function plot(table, cx, cy) {
  const points = table.methods
    .map((m) => ({ m, x: table.cells[m.id]?.[cx.id]?.value ?? null, y: table.cells[m.id]?.[cy.id]?.value ?? null }))
    .filter((p) => p.x !== null && p.y !== null && p.x > 0);
  if (!points.length) return h("p", { class: "note" }, "No method has both values.");
  const across = logScale(
    points.map((p) => p.x),
    LEFT,
    W - RIGHT,
  );
  const up = linearScale(
    points.map((p) => p.y),
    H - BOTTOM,
    TOP,
  );
  const title = `${cy.title} against ${cx.title} of ${points.length} methods`;
  return s(
    "svg",
    { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": title },
    across.ticks
      .map((t) => [
        s("line", { class: "grid", x1: across.at(t), x2: across.at(t), y1: TOP, y2: H - BOTTOM }),
        s("text", { class: "label", x: across.at(t), y: H - BOTTOM + 18, "text-anchor": "middle" }, tick(t)),
      ])
      .flat(),
    up.ticks
      .map((t) => [
        s("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: up.at(t), y2: up.at(t) }),
        s("text", { class: "label", x: LEFT - 8, y: up.at(t) + 4, "text-anchor": "end" }, tick(t)),
      ])
      .flat(),
    s(
      "text",
      { class: "label", x: (LEFT + W - RIGHT) / 2, y: H - 8, "text-anchor": "middle" },
      `${cx.title}${cx.unit && cx.unit !== "1" ? `, ${cx.unit}` : ""} (logarithmic; left is better)`,
    ),
    s(
      "text",
      {
        class: "label",
        x: 14,
        y: (H - BOTTOM) / 2,
        "text-anchor": "middle",
        transform: `rotate(-90 14 ${(H - BOTTOM) / 2})`,
      },
      `${cy.title} ${arrow(cy.direction)}`,
    ),
    labelled(
      points.map((p) => ({ ...p, px: across.at(p.x), py: up.at(p.y) })),
      cx,
      cy,
    ),
  );
}

/** Points with their names, moved apart where they would lie on each other. */
function labelled(points, cx, cy) {
  const taken = [];
  return [...points]
    .sort((a, b) => a.py - b.py)
    .map((p) => {
      let y = p.py + 4;
      while (taken.some((t) => Math.abs(t.x - p.px) < 110 && Math.abs(t.y - y) < 14)) y += 3;
      taken.push({ x: p.px, y });
      const text = `${p.m.title}: ${number(p.y, cy.decimals)}, ${number(p.x, cx.decimals)} ${cx.unit}`;
      return s(
        "a",
        { href: local(p.m.page) },
        s("title", {}, text),
        s("circle", { class: p.m.outside_ranks ? "dot reference" : "dot", cx: p.px, cy: p.py, r: 5 }),
        s("text", { class: "name", x: p.px + 10, y }, short(p.m.title).slice(0, 20)),
      );
    });
}

function linearScale(values, from, to) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  return {
    at: (v) => from + ((v - low + pad) / (high - low + 2 * pad)) * (to - from),
    ticks: ticks(low - pad, high + pad, 5),
  };
}

function logScale(values, from, to) {
  const [low, high] = [Math.log10(Math.min(...values)) - 0.15, Math.log10(Math.max(...values)) + 0.15];
  const marks = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const m of high - low > 3 ? [1] : [1, 2, 5]) {
      const value = m * 10 ** power;
      if (Math.log10(value) >= low && Math.log10(value) <= high) marks.push(value);
    }
  }
  return { at: (v) => from + ((Math.log10(v) - low) / (high - low)) * (to - from), ticks: marks };
}
