import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { datum, launch, open, site } from "./browser.mjs";

let browser, table;
before(async () => {
  browser = await launch();
  table = await datum(browser, "table");
});
after(() => browser.close());

const ranked = () => table.methods.filter((m) => !m.outside_ranks);
const names = (page) => page.locator("tbody.ranked th.method a").allTextContents();

test("a newcomer sees title, sentence, legend, first numbers and clips without scrolling", async () => {
  const { page, complaints, close } = await open(browser, "index.html");
  for (const selector of [
    "h1",
    ".lead",
    ".legend",
    "tbody.ranked .cell >> nth=0",
    ".place1 >> nth=0",
    "text=Watch the clips",
  ]) {
    const box = await page.locator(selector).first().boundingBox();
    assert.ok(box && box.y + box.height <= 900, `${selector} is not on the first screen`);
  }
  assert.deepEqual(complaints, []);
  await close();
});

test("every value of the protocol's table is there, with its coverage", async () => {
  const { page, close } = await open(browser, "index.html");
  await page.click("text=All columns");
  for (const method of table.methods) {
    for (const column of table.metrics) {
      const cell = table.cells[method.id]?.[column.id];
      const link = page.locator(`.cell[href$="${CSS(method.id, column.id)}"]`);
      assert.equal(await link.count(), cell ? 1 : 0, `${method.id} ${column.id}`);
      if (!cell) continue;
      const shown = Number((await link.textContent()).replace("\u2212", "-"));
      if (cell.value !== null) assert.ok(Math.abs(shown - cell.value) <= 0.51 * 10 ** -column.decimals);
      const coverage = await link.locator("xpath=..").locator(".coverage").allTextContents();
      assert.deepEqual(coverage, cell.n < cell.of ? [`${cell.n}/${cell.of}`] : []);
    }
  }
  await close();
});

function CSS(method, metric) {
  return `?${new URLSearchParams({ method, metric })}`.replaceAll('"', '\\"');
}

test("a heading sorts best first, then the other way, by mouse and by keyboard", async () => {
  const { page, complaints, close } = await open(browser, "index.html");
  const column = table.metrics.find(
    (c) => c.in_table && ranked().filter((m) => table.cells[m.id]?.[c.id]?.value != null).length > 1,
  );
  const value = (title) =>
    table.cells[ranked().find((m) => m.title.startsWith(title.replace("\u2026", ""))).id]?.[column.id]?.value;
  const button = page.locator(`[data-sort="${column.id}"]`);
  await button.click();
  const best = (await names(page)).map(value).filter((v) => v != null);
  assert.deepEqual(
    best,
    [...best].sort((a, b) => (column.direction === "higher" ? b - a : a - b)),
  );
  assert.equal(
    await page.locator("th[aria-sort]").getAttribute("aria-sort"),
    column.direction === "higher" ? "descending" : "ascending",
  );
  await button.press("Enter");
  assert.deepEqual(
    (await names(page)).map(value).filter((v) => v != null),
    best.reverse(),
  );
  assert.equal(
    await page.evaluate(() => document.activeElement.dataset.sort),
    column.id,
    "the focus stays on the heading",
  );
  assert.deepEqual(complaints, []);
  await close();
});

test("intervals, columns and variants come and go", async () => {
  const { page, close } = await open(browser, "index.html");
  assert.equal(await page.locator(".results .low").count(), 0);
  await page.click("text=95 % intervals");
  assert.ok((await page.locator(".results .low").count()) > 0);
  const before = await page.locator("[data-sort]").count();
  const group = page.locator(".toolbar fieldset button").first();
  await group.click();
  assert.ok((await page.locator("[data-sort]").count()) < before);
  await group.click();
  const select = page.locator(".toolbar .choice select").first();
  if (await select.count()) {
    const other = await select.locator("option").nth(1).getAttribute("value");
    await select.selectOption(other);
    assert.ok((await page.locator(`[data-sort^="${other}"]`).count()) > 0);
  }
  await close();
});

test("a cell leads to its evidence, and the evidence to the videos", async () => {
  const { page, complaints, close } = await open(browser, "index.html");
  const measured = ranked().find((m) => m.peak_ram_bytes);
  const cell = page.locator(`.cell[href*="method=${measured.id}&"]`).filter({ hasText: /\d/ }).first();
  const text = await cell.textContent();
  await cell.focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("html[data-page=number][data-ready]");
  assert.ok((await page.locator(".headline strong").textContent()).startsWith(text));
  const { command, command_note } = await datum(browser, measured.data);
  const parts = [
    "How this number was made",
    command || command_note,
    "output (SHA-256)",
    "truth (SHA-256)",
    "memory",
    "time",
  ];
  const text_of_page = await page.locator("main").textContent();
  for (const part of parts) assert.ok(text_of_page.includes(part), part);
  await page.locator("table .cell").first().click();
  await page.waitForSelector("html[data-page=clip][data-ready]");
  assert.equal(await page.locator(".card.asked").count(), 1);
  assert.deepEqual(complaints, []);
  await close();
});

test("an address that names nothing says so", async () => {
  const { page, close } = await open(browser, "number.html?method=<b>nobody</b>&metric=x");
  assert.match(await page.locator("main").textContent(), /names no number/);
  await close();
});

test("the scatter has a point for every method with both values", async () => {
  const { page, close } = await open(browser, "index.html");
  const quality = table.metrics.find((c) => c.quality),
    cost = table.metrics.find((c) => !c.quality);
  const both = table.methods.filter(
    (m) => table.cells[m.id]?.[quality.id]?.value != null && table.cells[m.id]?.[cost.id]?.value > 0,
  );
  assert.equal(await page.locator(".plot .dot").count(), both.length);
  await close();
});

test("numbers in print are grey, by protocol, and take no part in places or sorting", async (t) => {
  const copy = mkdtempSync(join(tmpdir(), "bench4d-site-"));
  t.after(() => rmSync(copy, { recursive: true }));
  for (const part of ["index.html", "static", "data/table.js"])
    cpSync(join(site, part), join(copy, part), { recursive: true });
  const [one, two] = table.metrics.filter((c) => c.in_table && c.quality);
  const rows = [{ method: "Printed <b>", values: { [one.id]: "0.129", [two.id]: "17.1?" } }];
  const published = [
    { protocol: "First paper", rows },
    { protocol: "Second paper", rows: [{ method: "Other", values: { [one.id]: "0.2" } }] },
  ];
  const clips = table.clips.map((c) => ({ ...c, poster: null }));
  const changed = { ...table, clips, published, methods: table.methods.map((m) => ({ ...m, alignment: m.id })) };
  writeFileSync(join(copy, "data/table.js"), `BENCH4D.put("table", ${JSON.stringify(changed)});`);
  const { page, complaints, close } = await open(browser, "index.html", { folder: copy });
  const before = await names(page);
  assert.equal(await page.locator(".published").count(), 0);
  await page.click("text=Numbers from papers");
  assert.deepEqual(await page.locator(".published .method").allTextContents(), ["Printed <b>", "Other"]);
  assert.deepEqual(
    (await page.locator(".published td").allTextContents()).filter((x) => /^[\d.?]+$/.test(x)),
    ["0.129", "17.1?", "0.2"],
  );
  assert.equal(await page.locator(".published .place1, .published .cell").count(), 0);
  assert.deepEqual(await names(page), before);
  assert.equal(await page.locator("tbody.ranked .badge", { hasText: "aligned:" }).count(), ranked().length);
  assert.deepEqual(complaints, []);
  await close();
});
