import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { datum, launch, open, query } from "./browser.mjs";
import { covered, decoded, difference, overlap, pixels } from "./pixels.mjs";

let browser, table, clip;
before(async () => {
  browser = await launch();
  table = await datum(browser, "table");
  clip = await datum(browser, table.clips[0].data);
});
after(() => browser.close());

const able = () => clip.methods.filter((m) => m.asset && m.status === "ok");
const references = () => new Set(table.methods.filter((m) => m.outside_ranks).map((m) => m.id));

async function opened(method) {
  const made = await open(
    browser,
    query("clip.html", { clip: clip.clip, method: method ?? able()[0].id, view: clip.views[0].id }),
  );
  await made.page.click("button.open");
  await made.page.waitForFunction(
    () => [...document.querySelectorAll(".pane canvas")].filter((c) => c.dataset.shown).length === 2,
  );
  return made;
}

async function go(page, frame) {
  await page.locator("#time").fill(String(frame));
  await settled(page, frame);
}

async function settled(page, frame) {
  await page.waitForFunction(
    (f) => [...document.querySelectorAll(".pane canvas")].every((c) => c.dataset.shown.startsWith(`${f} `)),
    frame,
    { timeout: 20000 },
  );
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

async function turn(page, times) {
  const canvas = page.locator(".pane canvas").first();
  await canvas.focus();
  for (let k = 0; k < times; k++) await canvas.press("ArrowLeft");
}

/** Two times and two cameras of both panes: never empty, different with the camera and, if `moves`, with the time. */
async function compare(page, pane, moves) {
  const canvas = page.locator(".pane canvas").nth(pane);
  await go(page, 0);
  const first = await pixels(page, canvas);
  const later = Math.min(3, clip.frames - 1); // not half of it: a walk repeats
  await go(page, later);
  const second = await pixels(page, canvas);
  await turn(page, 12);
  await settled(page, later);
  const third = await pixels(page, canvas);
  for (const picture of [first, second, third]) {
    const share = covered(picture).filter(Boolean).length / picture.length;
    assert.ok(share > 0.01 && share < 0.9, `${share} of the picture is covered`);
  }
  if (moves) assert.ok(difference(first, second) > 0.002, "the picture does not change with time");
  assert.ok(difference(second, third) > 0.01, "the picture does not change with the camera");
}

for (const kind of ["mesh", "gaussians"]) {
  test(`${kind}: non-empty pictures at two times and two cameras`, async (t) => {
    const made = (m) => table.methods.find((x) => x.id === m.id)?.output;
    const found = able().find((m) => made(m) === kind && !references().has(m.id));
    if (!found) return t.skip(`no method of this site made ${kind}`);
    const { page, complaints, close } = await opened(found.id);
    await compare(page, 1, true);
    assert.deepEqual(complaints, []);
    await close();
  });
}

test("pictures are those of bench4d's renderer, from every camera of the videos", async (t) => {
  const renders = process.env.BENCH4D_RENDERS; // <output>-<view>.png: frame 2, 512 pixels a side
  if (!renders) return t.skip("no renders to compare with");
  const { page, close } = await opened("splats");
  await go(page, 2);
  for (const view of clip.views) {
    await page.locator("label", { hasText: "View" }).locator("select").selectOption(view.id);
    await settled(page, `2 ${view.azimuth}`);
    for (const [pane, name] of ["truth", "splats"].entries()) {
      const drawn = await pixels(page, page.locator(".pane canvas").nth(pane));
      const expected = await decoded(page, readFileSync(join(renders, `${name}-${view.id}.png`)), 0.015);
      assert.ok(overlap(drawn, expected) > 0.95, `${name} ${view.id}: overlap ${overlap(drawn, expected)}`);
      assert.ok(
        difference(drawn, expected) < 0.03,
        `${name} ${view.id}: ${difference(drawn, expected)} of the pixels differ`,
      );
    }
  }
  await close();
});

test("both panes turn together, and either can show any output", async () => {
  const { page, close } = await opened();
  await turn(page, 3);
  const cameras = await page.locator(".pane canvas").evaluateAll(async (all) => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return all.map((c) => c.dataset.shown);
  });
  assert.equal(cameras[0], cameras[1]);
  const select = page.locator(".pane select").nth(1);
  await select.selectOption("truth");
  await page.waitForFunction(() => !document.querySelectorAll(".pane .note")[1].textContent.includes("Loading"));
  await settled(page, 0);
  const [left, right] = [
    await pixels(page, page.locator(".pane canvas").first()),
    await pixels(page, page.locator(".pane canvas").nth(1)),
  ];
  assert.ok(overlap(left, right) > 0.95 && difference(left, right) < 0.04);
  await close();
});

test("without WebGL the page says so and keeps its videos", async () => {
  const poor = await launch("--disable-3d-apis");
  const { page, complaints, close } = await open(poor, query("clip.html", { clip: clip.clip }));
  await page.click("button.open");
  await page.waitForSelector(".viewer [role=alert]");
  assert.match(await page.locator(".viewer [role=alert]").textContent(), /no WebGL 2/);
  assert.ok((await page.locator("video:visible").count()) > 0);
  assert.deepEqual(complaints, []);
  await close();
  await poor.close();
});
