// The table itself.
import { address, badge, h, local } from "../dom.js";
import { arrow, better, interval, number, short } from "../format.js";
import { sorted, twoLines } from "./columns.js";

/** @returns {HTMLTableElement} */
export function grid(table, groups, state, onsort) {
  const columns = groups.flatMap((g) => g.columns);
  const ranked = table.methods.filter((m) => !m.outside_ranks);
  const references = table.methods.filter((m) => m.outside_ranks);
  const firsts = new Set(groups.map((g) => g.columns[0].id));
  const alignments = new Set(ranked.map((m) => m.alignment)).size;
  const look = { ...state, columns, firsts, alignments };
  const bodies = [body(table, look, ranked, "ranked")];
  if (references.length) bodies.push(body(table, look, references, "references"));
  return h(
    "table",
    { class: "results" },
    h("caption", { class: "hidden" }, "Methods and their values; each value links to its evidence"),
    head(groups, look, onsort),
    bodies,
    state.papers ? papers(table, look) : null,
  );
}

function head(groups, look, onsort) {
  const title = (key, tip, lines, css) => {
    const chosen = look.sort === key;
    const aria = !chosen ? null : look.descending ? "descending" : "ascending";
    return h(
      "th",
      { scope: "col", class: css, "aria-sort": aria, title: tip },
      h(
        "button",
        { type: "button", class: "sort", "data-sort": key, onclick: () => onsort(key) },
        lines.map((l) => h("span", {}, l)),
      ),
      h(
        "span",
        { class: "sorted", "aria-hidden": "true" },
        chosen ? (look.descending ? "\u25bc" : "\u25b2") : "\u00a0",
      ),
    );
  };
  return h(
    "thead",
    {},
    h(
      "tr",
      { class: "groups" },
      h("td", { colspan: 2 }),
      groups.map((g) => h("th", { colspan: g.columns.length, scope: "colgroup", class: "first" }, g.title)),
    ),
    h(
      "tr",
      {},
      title("method", null, ["Method"], "method"),
      title(
        "rank",
        "Mean of a method's ranks in the quality columns: 1 is best. Click to sort.",
        ["Mean", "rank \u2193"],
        null,
      ),
      look.columns.map((c) => {
        const [name, variant] = twoLines(c.title);
        const small = [variant, c.unit && c.unit !== "1" ? c.unit : ""].filter(Boolean).join(", ");
        return title(
          c.id,
          `${c.definition} (${better(c.direction)}). Click to sort.`,
          [`${name}\u00a0${arrow(c.direction)}`, small || "\u00a0"],
          look.firsts.has(c.id) ? "first" : null,
        );
      }),
    ),
  );
}

function body(table, look, methods, kind) {
  const rows = sorted(methods, table.cells, look.sort, look.descending).map((m) => row(table, look, m));
  if (kind === "references") {
    rows.unshift(
      h(
        "tr",
        { class: "title" },
        h("th", { scope: "rowgroup" }, "For comparison"),
        h("td", { colspan: look.columns.length + 1 }, "made with knowledge of the true object, outside the ranking"),
      ),
    );
  }
  return h("tbody", { class: kind }, rows);
}

function row(table, look, method) {
  const rank = method.rank;
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row", class: "method" },
      h("a", { href: local(method.page), title: method.title.length > 48 ? method.title : null }, short(method.title)),
      ...badges(method, look.alignments),
    ),
    h("td", {}, rank ? number(rank.value, 2) : "\u2013", look.intervals && rank ? low(interval(rank, 2)) : null),
    look.columns.map((c) => cell(method, c, table.cells[method.id]?.[c.id], look)),
  );
}

/** What a reader must know about a method before comparing. */
export function badges(method, alignments = 1) {
  const made = [];
  if (method.contaminated?.length)
    made.push(
      badge(
        "saw test data",
        "warn",
        `Trained on ${method.contaminated.join(", ")}, which contains objects of this benchmark`,
      ),
    );
  if (method.status && !["ok", "working"].includes(method.status))
    made.push(badge(method.status, method.status === "failed" ? "bad" : "plain", method.reason || method.status));
  if (alignments > 1 && !method.outside_ranks)
    made.push(badge(`aligned: ${method.alignment}`, "plain", "Places are given among methods of one alignment"));
  return made;
}

function cell(method, column, value, look) {
  const css =
    [look.firsts.has(column.id) ? "first" : "", value?.place ? `place${value.place}` : ""].join(" ").trim() || null;
  if (!value) return h("td", { class: css }, "\u2013");
  const text = number(value.value, column.decimals);
  const partial = value.of && value.n < value.of;
  const why = (value.reasons ?? []).join("; ");
  const title = [
    value.low === null || value.low === undefined ? "" : `95 % interval ${interval(value, column.decimals)}`,
    partial ? `${value.n} of ${value.of} clips have a value` : "",
    why,
  ]
    .filter(Boolean)
    .join(". ");
  const label = `${method.title}, ${column.title}: ${value.value === null || value.value === undefined ? "no value" : text}${partial ? `, ${value.n} of ${value.of} clips` : ""}`;
  return h(
    "td",
    { class: css },
    h(
      "a",
      {
        class: "cell",
        href: local(address("number.html", { method: method.id, metric: column.id })),
        title: title || null,
        "aria-label": label,
      },
      text,
    ),
    partial ? h("span", { class: "coverage" }, `${value.n}/${value.of}`) : null,
    look.intervals ? low(interval(value, column.decimals)) : null,
  );
}

function low(text) {
  return h("span", { class: "low" }, text);
}

/** Numbers as printed in papers, by protocol: other clips, other cameras, so they take no part in anything above. */
function papers(table, look) {
  const bodies = [];
  for (const { protocol, rows } of table.published) {
    const printed = rows.filter((r) => look.columns.some((c) => r.values[c.id] !== undefined));
    if (!printed.length) continue;
    bodies.push(
      h(
        "tbody",
        { class: "published" },
        h(
          "tr",
          { class: "title" },
          h("th", { scope: "rowgroup" }, "From papers"),
          h(
            "td",
            { colspan: look.columns.length + 1 },
            `${protocol} \u2013 as printed, under other conditions: not to be compared with the rows above`,
          ),
        ),
        printed.map((r) =>
          h(
            "tr",
            {},
            h("th", { scope: "row", class: "method" }, r.method),
            h("td", {}),
            look.columns.map((c) =>
              h("td", { class: look.firsts.has(c.id) ? "first" : null, title: r.source }, r.values[c.id] ?? ""),
            ),
          ),
        ),
      ),
    );
  }
  return bodies.length
    ? bodies
    : h(
        "tbody",
        { class: "published" },
        h("tr", {}, h("td", { colspan: look.columns.length + 2 }, "No paper prints numbers of these columns.")),
      );
}
