// The widget's rules as pure functions, evaluated in a browser: what may be used, how long a choice
// holds, what an address may ask for, what is shown. No coordinator.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createRequire } from "node:module";
import { launch } from "./browsers.mjs";
import { at, LISTING } from "./project.mjs";

const HOUR = 3_600_000;
const CALM = { hidden: false, charging: null, mobile: false, saveData: false };

/** @type {import("puppeteer-core").Browser} */
let browser;
/** @type {import("puppeteer-core").Page} */
let page;

before(async () => {
  if (LISTING) return;
  const { build } = createRequire(at("www/package.json"))("esbuild");
  const names = ["widget/consent", "widget/governor", "widget/model", "widget/parameters", "widget/strings", "common/format"];
  const contents = names.map((name) => `export * from ${JSON.stringify(at("www", `${name}.ts`))};`).join("\n");
  const bundled = await build({
    stdin: { contents, resolveDir: at("www") },
    bundle: true,
    write: false,
    format: "iife",
    globalName: "widget",
  });
  browser = await launch("chromium");
  page = await browser.newPage();
  await page.evaluate(`${bundled.outputFiles[0].text}; window.widget = widget;`);
});
after(() => browser?.close());

/** Calls one exported function inside the page. @param {string} name @param {unknown[]} words @returns {Promise<any>} */
const call = (name, ...words) =>
  page.evaluate((one, all) => /** @type {any} */ (window).widget[one](...all), name, words);

test("Chromium: the governor only ever lowers", async () => {
  for (let bits = 0; bits < 16; bits += 1) {
    const signals = { hidden: !!(bits & 1), mobile: !!(bits & 2), saveData: !!(bits & 4), charging: !(bits & 8) };
    for (const [wanted, max] of [[0.1, 1], [0.5, 0.2], [1, 1]]) {
      const { share } = await call("govern", wanted, max, signals);
      assert.ok(share <= wanted && share <= max && share >= 0, JSON.stringify({ wanted, max, signals, share }));
    }
  }
});

test("Chromium: the governor names what holds the share down", async () => {
  const check = async (signals, expected) => assert.deepEqual(await call("govern", 0.5, 1, { ...CALM, ...signals }), expected);
  await check({}, { share: 0.5, limiter: null });
  await check({ hidden: true }, { share: 0.1, limiter: "background" });
  await check({ charging: false }, { share: 0.25, limiter: "battery" });
  await check({ mobile: true }, { share: 0, limiter: "battery" });
  await check({ mobile: true, charging: true }, { share: 0.5, limiter: null });
  assert.deepEqual(await call("govern", 0.5, 0.2, CALM), { share: 0.2, limiter: "host" });
});

test("Chromium: a share of nothing is a rest that names its holder", async () => {
  const check = async (max, signals, expected) => {
    const governed = await call("govern", 0.5, max, { ...CALM, ...signals });
    assert.equal(await call("holder", governed), expected, JSON.stringify({ max, signals, governed }));
  };
  await check(1, {}, null);
  await check(1, { hidden: true, charging: false, saveData: true }, null);
  await check(1, { mobile: true }, "battery");
  await check(1, { mobile: true, charging: false }, "battery");
  await check(1, { mobile: true, charging: true }, null);
  await check(0, {}, "host");
});

test("Chromium: only what holds the share at nothing keeps a visitor from resuming", async () => {
  const held = (model) => call("isHeld", { scene: "paused", reason: "battery", shareNow: 0, limiter: "battery", ...model });
  assert.ok(await held({}));
  assert.ok(!(await held({ reason: "visitor" })));
  assert.ok(!(await held({ shareNow: 0.25 })));
  assert.ok(!(await held({ scene: "waiting" })));
});

test("Chromium: only a yes that holds lets work start, and a rest revives no other choice", async () => {
  const chosen = (choice) => ({ choice, at: 1e12, paused: false });
  const scene = async (choice, age) => call("sceneWithout", await call("standing", chosen(choice), 1e12 + age));
  assert.equal(await scene("yes", HOUR), null);
  assert.equal(await scene("yes", 24 * HOUR), "asking");
  assert.equal(await scene("stopped", HOUR), "stopped");
  assert.equal(await scene("stopped", 24 * HOUR), "asking");
  assert.equal(await scene("no", HOUR), "declined");
  assert.equal(await call("sceneWithout", null), "asking");
  assert.deepEqual(await call("rested", chosen("yes"), true), { ...chosen("yes"), paused: true });
  assert.deepEqual(await call("rested", chosen("stopped"), true), chosen("stopped"));
});

test("Chromium: a yes holds for a day, a no for a month, and a clock set back prolongs neither", async () => {
  const holds = async (choice, age) => (await call("standing", { choice, at: 1e12, paused: false }, 1e12 + age)) !== null;
  assert.ok(await holds("yes", 23 * HOUR));
  assert.ok(!(await holds("yes", 24 * HOUR)));
  assert.ok(await holds("no", 29 * 24 * HOUR));
  assert.ok(!(await holds("no", 30 * 24 * HOUR)));
  assert.ok(!(await holds("yes", -HOUR)));
  assert.equal(await call("standing", { choice: "always", at: 1e12, paused: false }, 1e12), null);
  assert.equal(await call("standing", null, 1e12), null);
});

test("Chromium: the page's address can ask for known things only", async () => {
  const read = (query) => call("readParameters", `https://c.test/widget/digits${query}`, ["en"], true);
  const plain = { job: "digits", theme: "auto", languages: ["en"], shareMax: 1, backend: "auto", folds: false, embedded: true };
  assert.deepEqual(await read(""), plain);
  assert.deepEqual(await read("?theme=javascript:1&share_max=7&backend=gpu"), plain);
  const asked = await read("?theme=dark&share_max=0.3&backend=cpu&language=fr");
  assert.deepEqual(asked, { ...plain, theme: "dark", shareMax: 0.3, backend: "cpu", languages: ["fr", "en"] });
});

test("Chromium: asking for the next task and loading its blocks are part of helping", async () => {
  const scenes = await page.evaluate(() => {
    const { initialModel, next } = /** @type {any} */ (window).widget;
    const events = [
      { type: "connecting" },
      { type: "checking_device" },
      { type: "downloading", bytes: 1, total: 2 },
      { type: "helping", task: 1, kind: "train", step: 8, steps: 8, loss: 1 },
      { type: "credited", task: 1, tasks: 1, samples: 256 },
      { type: "waiting", reason: "asking", retry_millis: 0 },
      { type: "downloading", bytes: 1, total: 2 },
      { type: "waiting", reason: "paused", retry_millis: 0 },
      { type: "offline", retry_millis: 100 },
      { type: "update_needed", reason: "too old" },
    ];
    let model = initialModel(0.5);
    return events.map((event) => (model = next(model, { happened: "volunteer", event })).scene);
  });
  const helping = ["helping", "helping", "helping", "helping"];
  assert.deepEqual(scenes, ["waiting", "checking", "downloading", ...helping, "waiting", "offline", "update_needed"]);
});

test("Chromium: who is one too many reads that they are in the queue, until there is work", async () => {
  const said = await page.evaluate(() => {
    const { initialModel, next, stringsFor } = /** @type {any} */ (window).widget;
    const events = [
      { type: "connecting" },
      { type: "waiting", reason: "enough", retry_millis: 5000 },
      { type: "helping", task: 1, kind: "train", step: 0, steps: 8, loss: null },
    ];
    let model = initialModel(0.5);
    const models = events.map((event) => (model = next(model, { happened: "volunteer", event })));
    return models.map(({ scene, reason }) => [scene, stringsFor(["en"]).strings.why[reason]]);
  });
  assert.deepEqual(said[1], ["waiting", "Enough helpers for now, thank you. You are in the queue."]);
  assert.equal(said[2][0], "helping");
});

test("Chromium: an owner's contact becomes a link only where it is an e-mail or an https address", async () => {
  assert.equal(await call("contactLink", "lab@example.org"), "mailto:lab@example.org");
  assert.equal(await call("contactLink", "https://example.org/lab"), "https://example.org/lab");
  for (const bad of ["javascript:alert(1)", "http://example.org", "a@b@c.d", "https://x.y/\"><script>", "lab", ""]) {
    assert.equal(await call("contactLink", bad), null, bad);
  }
});

test("Chromium: numbers are written for people", async () => {
  assert.equal(await call("scaled", 1.53e9, "FLOP"), "1.53 GFLOP");
  assert.equal(await call("scaled", 999_600, "FLOP"), "1.00 MFLOP");
  assert.equal(await call("scaled", 12, "FLOP"), "12 FLOP");
  assert.equal(await call("percent", 0.9634), "96.3 %");
  assert.equal(await call("percent", null), "–");
  assert.equal(await call("span", 75_000), "1 min 15 s");
  assert.equal(await call("megabytes", 1_500_000), "1.5 MB");
  assert.equal(await call("adapterName", "llvmpipe (LLVM 15.0.6, 256 bits)"), "llvmpipe");
});
