import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { datum, launch, open, query } from "./browser.mjs";

let browser, table, clip;
before(async () => {
  browser = await launch();
  table = await datum(browser, "table");
  clip = await datum(browser, table.clips[0].data);
});
after(() => browser.close());

const clipPage = (more = {}) => open(browser, query("clip.html", { clip: clip.clip, ...more }));

/** Notes of every video which frame was presented last, by its time in the film. */
async function watch(page) {
  await page.evaluate((fps) => {
    globalThis.presented = () =>
      [...document.querySelectorAll("video")].filter((v) => !v.hidden).map((v) => v.presented);
    for (const video of document.querySelectorAll("video")) {
      const note = (_, { mediaTime }) => {
        video.presented = Math.round(mediaTime * fps);
        video.requestVideoFrameCallback(note);
      };
      video.requestVideoFrameCallback(note);
    }
  }, clip.fps);
}

async function loaded(page) {
  await page.waitForFunction(() => [...document.querySelectorAll("video")].every((v) => v.hidden || v.readyState >= 2));
}

test("truth is first, every method has its place, all have decoded a picture", async () => {
  const { page, complaints, close } = await clipPage();
  await loaded(page);
  assert.equal(await page.locator(".card h2").first().textContent(), "Truth");
  assert.equal(await page.locator(".card").count(), 1 + clip.methods.length);
  const drawn = await page.evaluate(
    () => [...document.querySelectorAll("video")].filter((v) => !v.hidden && v.videoWidth > 0 && !v.error).length,
  );
  const view = await page.locator("label", { hasText: "View" }).locator("select").inputValue();
  assert.equal(drawn, 1 + clip.methods.filter((m) => m.videos[view]).length);
  for (const failed of clip.methods.filter((m) => !m.videos[view]))
    assert.ok(
      (await page.locator(".missing").allTextContents()).some((text) => text.includes(failed.reason)),
      failed.id,
    );
  assert.deepEqual(complaints, []);
  await close();
});

test("the slider puts every video on one frame", async () => {
  const { page, close } = await clipPage();
  await loaded(page);
  await watch(page);
  for (const frame of [clip.frames - 1, 0, Math.floor(clip.frames / 2), 1]) {
    await page.locator("#time").fill(String(frame));
    await page.waitForFunction((f) => presented().every((k) => k === f), frame, { timeout: 5000 });
    assert.match(await page.locator("output").textContent(), new RegExp(`^frame ${frame + 1} of ${clip.frames} `));
  }
  await close();
});

test("playing, all videos stay within one frame of each other, and all move", async () => {
  const { page, close } = await clipPage();
  await loaded(page);
  await watch(page);
  await page.click("text=Play");
  await page.waitForFunction(() => presented().every((k) => k !== undefined));
  const apart = await page.evaluate(
    (frames) =>
      new Promise((done) => {
        const seen = new Set();
        let worst = 0;
        const end = performance.now() + 2500;
        const sample = () => {
          const at = presented();
          const spread = Math.max(...at) - Math.min(...at);
          worst = Math.max(worst, Math.min(spread, frames - spread)); // the last frame and the first are neighbours
          at.forEach((k) => seen.add(k));
          if (performance.now() < end) requestAnimationFrame(sample);
          else done({ worst, seen: seen.size });
        };
        sample();
      }),
    clip.frames,
  );
  assert.ok(apart.worst <= 1, `${apart.worst} frames apart`);
  assert.ok(apart.seen >= 4, `only ${apart.seen} frames were shown`);
  await page.click("text=Pause");
  await close();
});

test("space plays and pauses, arrows step", async () => {
  const { page, close } = await clipPage();
  await loaded(page);
  await page.locator("h1").click();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => document.querySelector("output").textContent.startsWith("frame 2 "));
  await page.keyboard.press(" ");
  assert.equal(await page.locator(".play").textContent(), "Pause");
  await page.keyboard.press(" ");
  assert.equal(await page.locator(".play").textContent(), "Play");
  await close();
});

test("views, difference and curves change what is shown", async () => {
  const { page, complaints, close } = await clipPage();
  await loaded(page);
  const sources = () =>
    page.evaluate(() =>
      [...document.querySelectorAll("video")].filter((v) => !v.hidden).map((v) => v.getAttribute("src")),
    );
  const before = await sources();
  await page.locator("label", { hasText: "View" }).locator("select").selectOption(clip.views[0].id);
  const other = await sources();
  assert.ok(other.every((source, k) => source !== before[k]));
  await page.click("text=Difference from truth");
  const errors = await sources();
  assert.equal(errors[0], other[0], "the truth stays");
  assert.ok(errors.slice(1).every((source) => source.includes("error")));
  await loaded(page);
  const line = () => page.locator(".sparkline polyline").first().getAttribute("points");
  const first = await line();
  const metrics = page.locator("label", { hasText: "Curve" }).locator("select");
  await metrics.selectOption(await metrics.locator("option").nth(1).getAttribute("value"));
  assert.notEqual(await line(), first);
  assert.deepEqual(complaints, []);
  await close();
});

test("a curve has one point for every measured frame", async () => {
  const { page, close } = await clipPage();
  const [view, metric] = [
    await page.locator("label", { hasText: "View" }).locator("select").inputValue(),
    await page.locator("label", { hasText: "Curve" }).locator("select").inputValue(),
  ];
  const curves = clip.methods.map((m) => m.frames?.[metric]?.[view] ?? m.frames?.[metric]?.[""]).filter(Boolean);
  const drawn = await page
    .locator(".sparkline polyline")
    .evaluateAll((lines) => lines.map((l) => l.getAttribute("points").split(" ").length));
  assert.deepEqual(
    drawn,
    curves.map((c) => c.filter((v) => v !== null).length),
  );
  await close();
});
