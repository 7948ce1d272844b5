// The clip page: all methods beside the truth, in step.
import { load } from "../data.js";
import { choice, h, link, toggle } from "../dom.js";
import { arrow, short } from "../format.js";
import { card } from "./card.js";
import { Player } from "./player.js";
import { rangeOf } from "./sparkline.js";
import { viewerPanel } from "./viewer-panel.js";

const MANY = 10; // clips: more are chosen from a list

export async function clipPage(query) {
  const table = await load("table");
  const entry = table.clips.find((c) => c.id === query.get("clip")) ?? table.clips[0];
  if (!entry) throw new Error("This benchmark has no clips.");
  const clip = await load(entry.data);
  document.title = `${clip.clip} \u00b7 ${table.title ?? table.benchmark}`;
  const metrics = perFrame(clip, table);
  const state = {
    view: pick(
      query.get("view"),
      clip.views.map((v) => v.id),
      clip.views.find((v) => v.group === "novel")?.id ?? clip.views[0]?.id,
    ),
    metric: pick(
      (query.get("metric") ?? "").split("[")[0],
      metrics.map((m) => m.metric),
      metrics[0]?.metric,
    ),
    error: false,
  };
  const player = new Player(clip.frames, clip.fps);
  const truth = card(clip, { title: "Truth", ...clip.truth, isTruth: true }, state, player, null);
  const cards = clip.methods.map((m) => card(clip, m, state, player, table));
  for (const made of cards) if (made.id === query.get("method")) made.element.classList.add("asked");
  const refresh = () =>
    [truth, ...cards].forEach((c) =>
      c.show(
        metrics.find((m) => m.metric === state.metric),
        rangeOf(clip.methods, state.metric, state.view),
      ),
    );
  const panel = viewerPanel(clip, player, state, query.get("method"));
  refresh();
  addKeys(player);
  return [
    h("p", { class: "crumbs" }, link("index.html", "Table"), " \u203a Clip"),
    h("h1", {}, clip.object ?? clip.clip),
    switcher(table, entry),
    ...controls(clip, metrics, state, player, () => {
      refresh();
      panel.view(state.view);
    }),
    h(
      "div",
      { class: "stage" },
      h("div", { class: "truth" }, truth.element),
      h(
        "div",
        { class: "cards" },
        cards.map((c) => c.element),
      ),
    ),
    panel.element,
  ];
}

function pick(asked, known, otherwise) {
  return asked && known.includes(asked) ? asked : otherwise;
}

/** Metrics with values for single frames, in the table's order. */
function perFrame(clip, table) {
  const known = new Set(clip.methods.flatMap((m) => Object.keys(m.frames ?? {})));
  const found = new Map();
  for (const c of table.metrics) if (known.has(c.metric) && !found.has(c.metric)) found.set(c.metric, c);
  return [...found.values()];
}

function switcher(table, entry) {
  const address = (id) => "?" + new URLSearchParams({ clip: id });
  const named = table.clips.map((c) => ({ value: c.id, title: short(c.object ?? c.id) }));
  if (named.length > MANY)
    return h(
      "div",
      { class: "toolbar" },
      choice("Clip", named, entry.id, (id) => location.assign(address(id))),
    );
  return h(
    "nav",
    { class: "tabs", "aria-label": "Clips" },
    named.map((c) => h("a", { href: address(c.value), "aria-current": c.value === entry.id ? "page" : null }, c.title)),
  );
}

function controls(clip, metrics, state, player, refresh) {
  const play = h(
    "button",
    { type: "button", class: "play", onclick: () => (player.playing ? player.pause() : player.play()) },
    "Play",
  );
  player.stateListeners.push(() => {
    play.textContent = player.playing ? "Pause" : "Play";
  });
  const time = h("input", {
    type: "range",
    min: 0,
    max: clip.frames - 1,
    value: 0,
    step: 1,
    "aria-label": "Frame",
    id: "time",
  });
  time.addEventListener("input", () => {
    player.pause();
    player.show(Number(time.value));
  });
  const told = h("output", { for: "time" });
  const tell = (frame) => {
    time.value = String(frame);
    time.setAttribute("aria-valuetext", `frame ${frame + 1} of ${clip.frames}`);
    told.textContent = `frame ${frame + 1} of ${clip.frames} \u00b7 ${(frame / clip.fps).toFixed(2)} s`;
  };
  player.listeners.push(tell);
  tell(0);
  const views = choice(
    "View",
    clip.views.map((v) => ({ value: v.id, title: v.title ?? v.id })),
    state.view,
    (v) => {
      state.view = v;
      refresh();
    },
  );
  const speeds = choice(
    "Speed",
    ["0.25", "0.5", "1", "2"].map((v) => ({ value: v, title: `${v}\u00d7` })),
    "1",
    (v) => {
      player.speed = Number(v);
    },
  );
  const metric = metrics.length
    ? choice(
        "Curve",
        metrics.map((m) => ({ value: m.metric, title: `${m.title} ${arrow(m.direction)}` })),
        state.metric,
        (v) => {
          state.metric = v;
          refresh();
        },
      )
    : null;
  const errors = clip.methods.some((m) => Object.keys(m.error ?? {}).length)
    ? toggle("Difference from truth", false, (on) => {
        state.error = on;
        legend.hidden = !on;
        refresh();
      })
    : null;
  const legend = scale(clip.error_scale);
  return [
    h("div", { class: "toolbar" }, views, metric, speeds, errors, legend),
    h("div", { class: "timeline" }, play, time, told),
  ];
}

/** What the colours of the difference mean. */
function scale(error) {
  const colors = error?.colors ?? [];
  const bar = colors.map((c) => {
    const part = h("span", {});
    part.style.background = c;
    return part;
  });
  const made = h(
    "span",
    { class: "scale" },
    "same",
    h("span", { class: "bar", "aria-hidden": "true" }, bar),
    error?.max ? `off by ${Math.round(error.max * 100)} % or more` : "different",
  );
  made.hidden = true;
  return made;
}

/** Space plays, arrows step, wherever the focus is not on a control of its own. */
function addKeys(player) {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      target.closest("input, select, button, a, canvas, [role=region]")
    )
      return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " ") {
      if (player.playing) player.pause();
      else player.play();
    } else if (step) {
      player.pause();
      player.show(player.frame + step);
    } else return;
    event.preventDefault();
  });
}
