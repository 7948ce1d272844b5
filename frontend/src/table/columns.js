// Which columns are shown, how they are grouped and in which order rows stand.

/** @typedef {{id: string, metric: string, group: string | null, family: string, title: string, unit: string, direction: "higher" | "lower",
 *   decimals: number, quality: boolean, in_table: boolean, page: string, definition: string}} Column */

const TITLES = { novel: "Novel views", input: "Input view", shape: "Shape", cost: "Cost" };

/** The group that a column stands under. @param {Column} column */
export function groupOf(column) {
  return column.group ?? (column.quality ? "shape" : "cost");
}

export function titleOf(group) {
  return TITLES[group] ?? group;
}

/** Families of which the protocol's table has more than one metric: what the variant selectors choose from. @param {Column[]} columns */
export function variants(columns) {
  const families = new Map();
  for (const column of columns.filter((c) => c.in_table && c.quality)) {
    const known = families.get(column.family) ?? [];
    if (!known.some((c) => c.metric === column.metric)) families.set(column.family, [...known, column]);
  }
  return [...families].filter(([, members]) => members.length > 1).map(([family, members]) => ({ family, members }));
}

/**
 * Columns by group. Of a family the chosen metric alone, with its columns outside the protocol's table if it is not the
 * first; columns without any value are left out; everything if `all`.
 * @param {Column[]} columns @param {{chosen: Record<string, string>, hidden: Set<string>, empty: Set<string>, all: boolean}} state
 */
export function shown(columns, state) {
  const first = Object.fromEntries(variants(columns).map((v) => [v.family, v.members[0].metric]));
  const groups = new Map();
  for (const column of columns) {
    const group = groupOf(column),
      pick = state.chosen[column.family];
    const wanted = pick
      ? column.metric === pick && (column.in_table || pick !== first[column.family])
      : column.in_table;
    if (state.hidden.has(group) || !(state.all || (wanted && !state.empty.has(column.id)))) continue;
    groups.set(group, [...(groups.get(group) ?? []), column]);
  }
  return [...groups].map(([group, members]) => ({ group, title: titleOf(group), columns: members }));
}

/** Columns of the protocol's table in which no method has a value. @param {Column[]} columns @returns {Column[]} */
export function withoutValues(columns, cells) {
  const has = (id) => Object.values(cells).some((of) => typeof of[id]?.value === "number");
  return columns.filter((c) => c.in_table && !has(c.id));
}

/** A title in two lines: "LPIPS (VGG)" is LPIPS and VGG, "Silhouette IoU" is Silhouette and IoU. @returns {[string, string]} */
export function twoLines(title) {
  const found = /^(.*\S)\s*\(([^()]*)\)$/.exec(title);
  if (found) return [found[1], found[2]];
  const space = title.length > 10 ? title.lastIndexOf(" ") : -1;
  return space > 0 ? [title.slice(0, space), title.slice(space + 1)] : [title, ""];
}

/** Methods in order of a column ("rank", "method" or a column's id); those without a value come last either way. */
export function sorted(methods, cells, key, descending) {
  const value = (m) =>
    key === "method" ? m.title.toLowerCase() : ((key === "rank" ? m.rank?.value : cells[m.id]?.[key]?.value) ?? null);
  return [...methods].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    const order = x < y ? -1 : x > y ? 1 : 0;
    return descending ? -order : order;
  });
}
