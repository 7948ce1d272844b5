// The evidence of one number: what it is the mean of, and how each part was made.
import { load } from "./data.js";
import { address, h, link, local } from "./dom.js";
import { better, bytes, interval, number, seconds } from "./format.js";
import { groupOf, titleOf } from "./table/columns.js";
import { badges } from "./table/grid.js";

export async function numberPage(query) {
  const table = await load("table");
  const method = table.methods.find((m) => m.id === query.get("method"));
  const column = table.metrics.find((c) => c.id === query.get("metric"));
  if (!method || !column)
    throw Object.assign(new Error("This address names no number of the table."), { expected: true });
  const data = await load(method.data);
  const cell = table.cells[method.id]?.[column.id] ?? {};
  document.title = `${method.title}: ${column.title}`;
  const rows = data.rows?.[column.id] ?? [];
  return [
    h(
      "p",
      { class: "crumbs" },
      link("index.html", "Table"),
      " \u203a ",
      link(method.page, method.title),
      " \u203a ",
      link(column.page, column.title),
    ),
    h("h1", {}, `${column.title} of ${method.title}`),
    headline(cell, column, method),
    meaning(cell, column),
    h("h2", {}, "What it is the mean of"),
    perClip(table, method, column, rows),
    h("h2", {}, "How this number was made"),
    ...made(data, column, rows, table),
  ];
}

function headline(cell, column, method) {
  const unit = column.unit && column.unit !== "1" ? " " + column.unit : "";
  return h(
    "p",
    { class: "headline" },
    h("strong", {}, number(cell.value, column.decimals), unit),
    cell.low !== null && cell.low !== undefined
      ? h("span", {}, `95 % interval ${interval(cell, column.decimals)}`)
      : null,
    cell.of ? h("span", {}, `${cell.n} of ${cell.of} clips`) : null,
    h("span", {}, better(column.direction)),
    ...badges(method),
  );
}

function meaning(cell, column) {
  const reasons = (cell.reasons ?? []).filter(Boolean);
  return h(
    "div",
    {},
    h("p", {}, column.definition, column.group ? ` Here over ${titleOf(groupOf(column)).toLowerCase()}.` : ""),
    reasons.length
      ? h(
          "ul",
          { class: "warning plain" },
          reasons.map((r) => h("li", {}, r)),
        )
      : null,
  );
}

/** Clips with their views: a value each, and the way to the videos. */
function perClip(table, method, column, rows) {
  if (!rows.length) return h("p", { class: "note" }, "No rows: this metric was not measured for this method.");
  const views = [...new Set(rows.map((r) => r.view))];
  const titles = views.map((v) => table.views?.find((w) => w.id === v)?.title ?? (v || "value"));
  const seeds = [...new Set(rows.map((r) => r.seed))];
  const told = rows.some((r) => r.reason);
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.clip, row.seed]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const lines = [...groups.values()].map((of) => {
    const clip = table.clips.find((c) => c.id === of[0].clip);
    const values = of.map((r) => r.value).filter((v) => v !== null && v !== undefined);
    const mean = values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
    const watch = (view) =>
      local(address("clip.html", { clip: of[0].clip, method: method.id, metric: column.id, view }));
    const reasons = [...new Set(of.map((r) => r.reason).filter(Boolean))];
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h(
          "a",
          { class: "thumb", href: watch(null) },
          clip?.poster ? h("img", { src: local(clip.poster), alt: "", width: 40, height: 40 }) : null,
          clip?.object ?? of[0].clip ?? "all clips",
        ),
      ),
      seeds.length > 1 ? h("td", {}, String(of[0].seed)) : null,
      views.map((v) => {
        const r = of.find((x) => x.view === v);
        return h(
          "td",
          {},
          r && r.value !== null
            ? h(
                "a",
                {
                  class: "cell",
                  href: watch(v || null),
                  "aria-label": `${of[0].clip}, ${v || "value"}: ${number(r.value, column.decimals)}, watch`,
                },
                number(r.value, column.decimals),
              )
            : "\u2013",
        );
      }),
      views.length > 1 ? h("td", {}, h("b", {}, number(mean, column.decimals))) : null,
      told ? h("td", { class: "text" }, reasons.join("; ")) : null,
    );
  });
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": "Values by clip" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Clip"),
          seeds.length > 1 ? h("th", { scope: "col" }, "Seed") : null,
          titles.map((t) => h("th", { scope: "col" }, t)),
          views.length > 1 ? h("th", { scope: "col" }, "Mean") : null,
          told ? h("td", { class: "text" }) : null,
        ),
      ),
      h("tbody", {}, lines),
    ),
  );
}

const NAMES = {
  asset_sha256: "output (SHA-256)",
  truth_sha256: "truth (SHA-256)",
  wall_s: "time",
  peak_ram_bytes: "memory",
  peak_gpu_bytes: "GPU memory",
  params_sha256: "settings (SHA-256)",
  weights_sha256: "method's weights (SHA-256)",
  metric_weights_sha256: "metric's weights (SHA-256)",
  code_version: "code",
  protocol_sha256: "protocol (SHA-256)",
  stride: "every n-th frame",
  n_frames: "frames",
};

function said(key, value) {
  if (value === null || value === undefined || value === "") return "\u2013";
  if (key.endsWith("_bytes")) return bytes(value);
  if (key === "wall_s" || key.endsWith("seconds")) return seconds(value);
  if (/sha256$|_version$/.test(key)) return h("code", { title: value }, shortHash(String(value)));
  if (typeof value === "object" && !Object.keys(value).length) return "\u2013";
  return typeof value === "object" ? h("code", {}, JSON.stringify(value)) : String(value);
}

function shortHash(text) {
  return text.replace(/[0-9a-f]{24,}/g, (hash) => hash.slice(0, 12) + "\u2026").replaceAll("\u2026+", "\u2026 + ");
}

function nameOf(key) {
  return NAMES[key] ?? key.replaceAll("_", " ");
}

function made(data, column, rows, table) {
  const common = { ...data.common, ...(data.columns?.[column.id] ?? {}) };
  const lines = Object.entries(common).map(([key, value]) => [h("dt", {}, nameOf(key)), h("dd", {}, said(key, value))]);
  const parts = data.made ?? [];
  const keys = [...new Set(parts.flatMap((p) => Object.keys(p)))].filter(
    (k) => !["clip", "seed", "command", "reason"].includes(k),
  );
  const body = parts.map((p) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, table.clips.find((c) => c.id === p.clip)?.object ?? p.clip),
      h("td", {}, String(p.seed)),
      keys.map((k) => h("td", {}, said(k, p[k]))),
    ),
  );
  const seeds = [...new Set(parts.map((p) => p.seed))];
  const command = data.command ?? parts.find((p) => p.command)?.command;
  const stages = (data.stages ?? []).map(
    (s) =>
      `${s.stage} ${seconds(s.wall_s)}, ${Math.round(s.peak_ram_mb)} MiB${seeds.length > 1 ? ` (seed ${s.seed})` : ""}`,
  );
  return [
    command ? h("p", {}, "The same again, from a checkout of the code:") : null,
    command ? copyable(command) : null,
    data.command_note ? h("p", { class: "note" }, data.command_note) : null,
    stages.length ? h("p", {}, `All clips together took: ${stages.join("; ")}.`) : null,
    lines.length ? h("dl", { class: "facts" }, lines.flat()) : null,
    parts.length
      ? h(
          "div",
          { class: "wide", tabindex: "0", role: "region", "aria-label": "How each clip was made" },
          h(
            "table",
            {},
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                h("th", { scope: "col" }, "Clip"),
                h("th", { scope: "col" }, "Seed"),
                keys.map((k) => h("th", { scope: "col" }, nameOf(k))),
              ),
            ),
            h("tbody", {}, body),
          ),
        )
      : null,
    h(
      "details",
      {},
      h("summary", {}, `The ${rows.length} rows of scores.parquet behind it, with whole hashes`),
      h("pre", { tabindex: "0" }, h("code", {}, JSON.stringify({ common, made: parts, rows }, null, 1))),
    ),
  ].filter(Boolean);
}

function copyable(text) {
  const button = h("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection()?.selectAllChildren(code);
    }
  });
  const code = h("code", {}, text);
  return h("div", { class: "command" }, h("pre", { tabindex: "0" }, code), button);
}
