// Names, reasons and descriptions come from strangers. On the tests' own site many of them are HTML.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { datum, launch, open, query, site } from "./browser.mjs";

let browser, table;
before(async () => {
  browser = await launch();
  table = await datum(browser, "table");
});
after(() => browser.close());

/** What a name that became HTML would leave behind. */
function intruders() {
  const inner = [...document.querySelectorAll("main *")];
  return inner
    .filter(
      (e) =>
        e.matches(
          "script, iframe, object, embed, base, meta, form, style, img:not([src^='media/'], [src^='../media/'])",
        ) ||
        [...e.attributes].some(
          (a) =>
            /^on/i.test(a.name) ||
            (/^(href|src|action|xlink:href)$/.test(a.name) && /^\s*(javascript|vbscript|data:text)/i.test(a.value)),
        ),
    )
    .map((e) => e.outerHTML.slice(0, 200));
}

test("no name becomes HTML or a script, on any page", async () => {
  const pages = [
    "index.html",
    "statistics.html",
    "methods.html",
    "metrics.html",
    "benchmark.html",
    ...table.methods.map((m) => m.page),
    ...table.metrics.map((c) => c.page),
    ...table.clips.map((c) => query("clip.html", { clip: c.id })),
    ...table.methods.map((m) => query("number.html", { method: m.id, metric: table.metrics[0].id })),
  ];
  for (const path of new Set(pages)) {
    const { page, complaints, close } = await open(browser, path);
    assert.deepEqual(await page.evaluate(intruders), [], path);
    assert.deepEqual(complaints, [], path);
    await close();
  }
});

test("every method is in the table under its whole name, and its links lead to it", async () => {
  const { page, close } = await open(browser, "index.html");
  const rows = page.locator(".results tbody:not(.published) tr:not(.title) th.method > a");
  const names = await rows.evaluateAll((all) => all.map((a) => a.title || a.textContent));
  assert.deepEqual(names.sort(), table.methods.map((m) => m.title).sort());
  for (const method of table.methods) {
    const made = await open(browser, query("number.html", { method: method.id, metric: table.metrics[0].id }));
    assert.ok((await made.page.locator("h1").textContent()).endsWith(method.title));
    await made.close();
  }
  await close();
});

test("addresses that lead out of the site lead nowhere", async () => {
  const { page, complaints, close } = await open(
    browser,
    "clip.html?clip=../../etc/passwd&metric=%3Cscript%3E&view=javascript:alert(1)",
  );
  assert.equal(
    await page.locator("h1").textContent(),
    table.clips[0].object,
    "an unknown clip falls back to the first",
  );
  assert.deepEqual(complaints, []);
  await close();
});

test("a copy that lacks a file says which one", async (t) => {
  const copy = mkdtempSync(join(tmpdir(), "bench4d-site-"));
  t.after(() => rmSync(copy, { recursive: true }));
  for (const part of ["clip.html", "static", "data/table.js"])
    cpSync(join(site, part), join(copy, part), { recursive: true });
  const { page, close } = await open(browser, "clip.html", { folder: copy });
  const said = await page.locator("main").textContent();
  assert.ok(said.includes(`data/${table.clips[0].data}.js is missing`), said);
  await close();
});

test("a damaged 3D object says so, and the other pane goes on", async (t) => {
  const clip = await datum(browser, table.clips[0].data);
  const broken = clip.methods.find((m) => m.asset);
  const copy = mkdtempSync(join(tmpdir(), "bench4d-site-"));
  t.after(() => rmSync(copy, { recursive: true }));
  cpSync(site, copy, { recursive: true });
  const file = join(copy, "data", `${broken.asset}.js`);
  const script = readFileSync(file, "utf16le");
  const start = script.indexOf('"data":"') + 8;
  writeFileSync(file, script.slice(0, start) + script.slice(start + 40), "utf16le"); // 40 characters are gone
  const made = await open(browser, query("clip.html", { clip: clip.clip, method: broken.id }), { folder: copy });
  await made.page.click("button.open");
  const note = made.page.locator(".pane .note").nth(1);
  await note.filter({ hasText: "damaged" }).waitFor();
  await made.page.waitForFunction(() => document.querySelector(".pane canvas").dataset.shown);
  assert.deepEqual(made.complaints, []);
  await made.close();
});
