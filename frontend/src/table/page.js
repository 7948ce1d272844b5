// The table page: methods x metrics, each number a link to its evidence.
import { load } from "../data.js";
import { choice, h, link, local, address, toggle } from "../dom.js";
import { groupOf, shown, titleOf, twoLines, variants, withoutValues } from "./columns.js";
import { grid } from "./grid.js";
import { scatter } from "./scatter.js";

export async function tablePage() {
  const table = await load("table");
  document.title = table.benchmark.title ?? table.benchmark;
  const state = {
    sort: "rank",
    descending: false,
    intervals: false,
    papers: false,
    all: false,
    chosen: Object.fromEntries(variants(table.metrics).map((v) => [v.family, v.members[0].metric])),
    hidden: new Set(),
    empty: new Set(withoutValues(table.metrics, table.cells).map((c) => c.id)),
  };
  const holder = h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Results, scrolls sideways" });
  const draw = () => {
    const groups = shown(table.metrics, state);
    const focused = document.activeElement?.getAttribute("data-sort");
    holder.replaceChildren(
      grid(table, groups, state, (key) => {
        sortBy(table, state, key);
        draw();
      }),
    );
    if (focused)
      /** @type {any} */ (
        [...holder.querySelectorAll("[data-sort]")].find((b) => b.getAttribute("data-sort") === focused)
      )?.focus();
  };
  draw();
  return [
    ...intro(table),
    toolbar(table, state, draw),
    holder,
    ...notes(table),
    h("div", { class: "halves" }, clips(table), scatter(table)),
    protocol(table),
  ];
}

/** First click: best first. Second click: the other way. */
function sortBy(table, state, key) {
  const column = table.metrics.find((c) => c.id === key);
  const bestFirst = column ? column.direction === "higher" : false;
  state.descending = state.sort === key ? !state.descending : bestFirst;
  state.sort = key;
}

function intro(table) {
  const about = table.about ? h("p", { class: "lead" }, table.about) : null;
  return [
    h("h1", {}, table.title ?? table.benchmark),
    about,
    h(
      "p",
      { class: "legend" },
      "\u2191 higher is better, \u2193 lower is better. ",
      h("b", { class: "place1" }, "Bold"),
      " is the best of its column, ",
      h("span", { class: "place2" }, "underlined"),
      " the second best. ",
      h("strong", {}, "Click any number"),
      " to see the videos it was measured on and how it was made.",
    ),
  ].filter(Boolean);
}

function toolbar(table, state, draw) {
  const groups = [...new Set(table.metrics.map(groupOf))];
  const columns = h(
    "fieldset",
    { class: "buttons" },
    h("legend", {}, "Columns"),
    groups.map((group) =>
      toggle(titleOf(group), true, (on) => {
        if (on) state.hidden.delete(group);
        else state.hidden.add(group);
        draw();
      }),
    ),
  );
  const selectors = variants(table.metrics).map(({ family, members }) =>
    choice(
      twoLines(members[0].title)[0],
      members.map((m) => ({ value: m.metric, title: twoLines(m.title)[1] || "plain" })),
      members[0].metric,
      (value) => {
        state.chosen[family] = value;
        draw();
      },
    ),
  );
  const papers = table.published?.length
    ? toggle("Numbers from papers", false, (on) => {
        state.papers = on;
        draw();
      })
    : null;
  const content = h(
    "div",
    { class: "toolbar" },
    columns,
    selectors,
    h(
      "div",
      { class: "buttons" },
      toggle("95 % intervals", false, (on) => {
        state.intervals = on;
        draw();
      }),
      toggle("All columns", false, (on) => {
        state.all = on;
        draw();
      }),
      papers,
    ),
  );
  const wide = matchMedia("(min-width: 40.01rem)");
  const options = h(
    "details",
    { class: "options", open: wide.matches },
    h("summary", {}, "Columns and variants"),
    content,
  );
  wide.addEventListener("change", () => (options.open = wide.matches));
  return options;
}

function notes(table) {
  const empty = withoutValues(table.metrics, table.cells).map((c) => {
    const reasons = Object.values(table.cells).flatMap((of) => of[c.id]?.reasons ?? []);
    return `${c.title} (${[...new Set(reasons)].slice(0, 2).join("; ") || "not measured"})`;
  });
  return [
    ...(table.warnings ?? []).map((text) => h("p", { class: "warning" }, text)),
    empty.length ? h("p", { class: "note" }, `No method has a value in: ${empty.join(", ")}.`) : null,
  ].filter(Boolean);
}

function clips(table) {
  const cards = table.clips.map((clip) =>
    h(
      "a",
      { class: "clip-link", href: local(address("clip.html", { clip: clip.id })) },
      clip.poster ? h("img", { src: local(clip.poster), alt: "", loading: "lazy", width: 96, height: 96 }) : null,
      h("span", {}, clip.object ?? clip.id),
    ),
  );
  return h(
    "section",
    {},
    h("h2", {}, "Watch the clips"),
    h("p", { class: "note" }, "Every method beside the true object, as synchronised videos and in 3D."),
    h("div", { class: "clip-links" }, cards),
  );
}

function protocol(table) {
  const lines = Array.isArray(table.protocol)
    ? table.protocol
    : Object.entries(table.protocol ?? {}).map(([k, v]) => `${k}: ${v}`);
  return h(
    "section",
    {},
    h("h2", {}, "How it is measured"),
    h(
      "ul",
      { class: "plain spaced" },
      lines.map((line) => h("li", {}, String(line))),
    ),
    h(
      "p",
      {},
      link("benchmark.html", "The protocol in full"),
      ` \u00b7 code ${[table.code_version ?? ""].flat().join(", ")}`,
    ),
  );
}
