import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { datum, launch, open, query } from "./browser.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let browser, pages;
before(async () => {
  browser = await launch();
  const table = await datum(browser, "table");
  const [method, metric] = [table.methods[0], table.metrics[0]];
  pages = [
    "index.html",
    "statistics.html",
    "methods.html",
    "metrics.html",
    "benchmark.html",
    method.page,
    metric.page,
    query("clip.html", { clip: table.clips[0].id }),
    query("number.html", { method: method.id, metric: metric.id }),
  ];
});
after(() => browser.close());

/** What axe finds, in words. */
async function violations(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ preload: false }));
  return violations.map(
    (v) =>
      `${v.id}: ${v.nodes
        .slice(0, 3)
        .map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? ""))
        .join(" | ")}`,
  );
}

for (const [width, dark] of [
  [1400, false],
  [390, true],
]) {
  test(`axe and the console find nothing on any page, ${width} pixels wide, ${dark ? "dark" : "light"}`, async () => {
    const found = [];
    for (const path of pages) {
      const { page, complaints, close } = await open(browser, path, { width, dark });
      if (path === "index.html") {
        if (width < 600) await page.click("text=Columns and variants");
        for (const name of ["95 % intervals", "All columns"]) await page.click(`text=${name}`);
      }
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (beyond > 0) complaints.push(`${beyond} pixels too wide`);
      found.push(...[...(await violations(page)), ...complaints].map((text) => `${path}: ${text}`));
      await close();
    }
    assert.deepEqual(found, []);
  });
}

test("the keyboard reaches every control, and the focus is seen", async () => {
  const { page, close } = await open(browser, pages[7]);
  const wanted = await page.evaluate(
    () => document.querySelectorAll("main a[href], main button, main select, main input").length,
  );
  const reached = new Set();
  for (let k = 0; k < wanted + 20; k++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e?.closest("main")) return null;
      const style = getComputedStyle(e);
      return [
        [...document.querySelectorAll("main *")].indexOf(e),
        style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
      ];
    });
    if (!at) continue;
    reached.add(at[0]);
    assert.ok(at[1], "an element has the focus without showing it");
  }
  assert.ok(reached.size >= wanted, `${reached.size} of ${wanted} reached`);
  await close();
});

test("the choice of colours stays", async () => {
  const { page, close } = await open(browser, "index.html");
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.click("button.theme");
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  await page.waitForSelector("html[data-ready]");
  assert.equal(await ground(), dark);
  await close();
});
