// The npm package potluck-engine as its users have it: unbundled, on both backends, with good and
// with bad input.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browsers.mjs";
import { at, LISTING } from "./project.mjs";
import { serveFolder } from "./static.mjs";

/** Losses of two executors after a few steps from the same weights, relative. */
const LOSS_TOLERANCE = 1e-4;

const PAGE = `<!doctype html><meta charset="utf-8"><title>Engine</title><link rel="icon" href="data:,">
<script type="module">
  import * as engine from "./index.js";
  window.engine = engine;
</script>`;

/** @param {import("./browsers.mjs").BrowserName} name */
export function engineSuite(name) {
  const called = name === "chromium" ? "Chromium" : "Firefox";
  /** @type {import("puppeteer-core").Browser} */
  let browser;
  /** @type {import("puppeteer-core").Page} */
  let page;
  /** @type {Awaited<ReturnType<typeof serveFolder>>} */
  let site;

  before(async () => {
    if (LISTING) return;
    site = await serveFolder(at("target/npm/potluck-engine"), PAGE);
    browser = await launch(name);
    page = await browser.newPage();
    page.on("console", (message) => message.type() === "error" && console.log(message.text()));
    await page.goto(site.address("engine"), { waitUntil: "domcontentloaded" });
    await page.waitForFunction(() => "engine" in window);
  });

  after(async () => {
    await browser?.close();
    site?.close();
  });

  test(`${called}: the engine's package trains the same on both backends`, async () => {
    const runs = await page.evaluate(trainOnBoth);
    assert.deepEqual(runs.map((run) => run.backend), ["webgpu", "cpu"]);
    for (const { losses, before, after, logits, weights } of runs) {
      assert.equal(losses.length, 5);
      assert.ok(after < before, `it learns: ${before} to ${after}`);
      assert.equal(logits.length, 3 * 2);
      assert.equal(weights, 4 * (2 * 8 + 8 + 8 * 2 + 2));
    }
    const [gpu, cpu] = runs;
    gpu.losses.forEach((loss, step) => {
      const gap = Math.abs(loss - cpu.losses[step]) / cpu.losses[step];
      assert.ok(gap <= LOSS_TOLERANCE, `step ${step + 1}: ${loss} on WebGPU, ${cpu.losses[step]} on wasm`);
    });
    assert.equal(gpu.dispatches, gpu.explained, "what is explained is what runs");
    assert.equal(gpu.submits, 20, "a step with its loss is one submit");
  });

  test(`${called}: the engine's package measures a GPU when it is asked to, and says what came of it`, async () => {
    const runs = await page.evaluate(trainTuned);
    for (const { backend, adapter, dispatches, tiers, tuning, untuned, learned } of runs) {
      assert.equal(untuned, null, "nobody asked");
      assert.equal(tiers.length, dispatches);
      assert.deepEqual(tiers.filter((tier) => !["Plain", "Registers", "Shared", "Quads"].includes(tier)), []);
      const skipped = backend === "cpu" ? "cpu" : adapter.includes("software adapter") ? "software" : null;
      assert.equal(tuning.skipped, skipped);
      assert.equal(tuning.measured > 0, skipped === null, JSON.stringify(tuning));
      assert.ok(tuning.changed <= tuning.measured && learned);
    }
    assert.deepEqual(runs.map((run) => run.backend), ["webgpu", "cpu"]);
  });

  test(`${called}: the engine's package says what is wrong`, async () => {
    assert.deepEqual(await page.evaluate(wrongInputs), {
      "no such backend": "options",
      "no batch size": "options",
      "a tune that is no boolean": "options",
      "a broken program": "program",
      "NaN weights": "weights",
      "too few weights": "weights",
      "a column of another name": "column-name",
      "a column too few": "column-name",
      "a column of another type": "column-type",
      "a column of another length": "column-length",
      "a label out of range": "column-value",
      "a freed trainer": "freed",
    });
  });
}

// What follows runs in the page, so it can use nothing from above.

async function trainOnBoth() {
  const { Trainer, explain, mlp } = /** @type {any} */ (window).engine;
  const program = await mlp({ features: 2, hidden: [8], classes: 2 });
  const x = new Float32Array([0, 0, 0, 1, 1, 0, 1, 1]);
  const y = new Uint32Array([0, 1, 1, 0]);
  let submits = 0;
  const queue = /** @type {any} */ (self).GPUQueue.prototype;
  const { submit } = queue;
  queue.submit = function (commands) {
    // An empty one carries no work; it only asks whether the queue is done.
    submits += commands.length > 0 ? 1 : 0;
    return submit.call(this, commands);
  };
  const runs = [];
  for (const backend of ["webgpu", "cpu"]) {
    const options = { backend, batch: 4, lr: 0.02, seed: 3 };
    const trainer = await Trainer.create(program, options);
    // Not awaited one by one: calls that overlap take turns.
    const losses = await Promise.all([1, 2, 3, 4, 5].map(() => trainer.step({ x, y })));
    let last = Infinity;
    submits = 0;
    for (let step = 0; step < 20; step += 1) last = await trainer.step({ x, y });
    const counted = submits;
    const logits = await trainer.forward({ x: x.slice(0, 6) });
    const weights = await trainer.weights();
    const { kernels } = await explain(program, options);
    const { backend: opened, dispatches } = trainer.info;
    const run = { backend: opened, dispatches, explained: kernels.length, losses, before: losses[0], after: last, submits: counted };
    runs.push({ ...run, logits: [...logits], weights: weights.byteLength });
    trainer.free();
  }
  queue.submit = submit;
  return runs;
}

async function trainTuned() {
  const { Trainer, mlp } = /** @type {any} */ (window).engine;
  const program = await mlp({ features: 4, hidden: [8], classes: 4 });
  const batch = { x: new Float32Array(16).map((_, at) => (at % 5 === 0 ? 1 : 0)), y: new Uint32Array([0, 1, 2, 3]) };
  const runs = [];
  for (const backend of ["webgpu", "cpu"]) {
    const options = { backend, batch: 4, lr: 0.02, seed: 3 };
    const plain = await Trainer.create(program, options);
    const trainer = await Trainer.create(program, { ...options, tune: true });
    const losses = await Promise.all(Array.from({ length: 10 }, () => trainer.step(batch)));
    runs.push({ ...trainer.info, untuned: plain.info.tuning, learned: losses[9] < losses[0] });
    plain.free();
    trainer.free();
  }
  return runs;
}

async function wrongInputs() {
  const { Trainer, mlp } = /** @type {any} */ (window).engine;
  const program = await mlp({ features: 2, hidden: [2], classes: 2 });
  const options = { backend: "cpu", batch: 2 };
  const x = new Float32Array(4);
  const y = new Uint32Array(2);
  const trainer = await Trainer.create(program, options);
  const freed = await Trainer.create(program, options);
  freed.free();
  const weights = new Float32Array(12);
  const attempts = {
    "no such backend": () => Trainer.create(program, { ...options, backend: "abacus" }),
    "no batch size": () => Trainer.create(program, { backend: "cpu" }),
    "a tune that is no boolean": () => Trainer.create(program, { ...options, tune: 1 }),
    "a broken program": () => Trainer.create({ ...program, nodes: [] }, options),
    "NaN weights": () => Trainer.create(program, { ...options, weights: weights.map(() => NaN) }),
    "too few weights": () => Trainer.create(program, { ...options, weights: weights.slice(1) }),
    "a column of another name": () => trainer.step({ x, labels: y }),
    "a column too few": () => trainer.step({ x }),
    "a column of another type": () => trainer.step({ x: y, y }),
    "a column of another length": () => trainer.step({ x: x.slice(1), y }),
    "a label out of range": () => trainer.step({ x, y: new Uint32Array([0, 2]) }),
    "a freed trainer": () => freed.step({ x, y }),
  };
  const codes = {};
  for (const [what, attempt] of Object.entries(attempts)) {
    codes[what] = await attempt().then(
      () => "nothing",
      (error) => (error.name === "PotluckError" ? error.code : String(error)),
    );
  }
  // And it still trains.
  await trainer.step({ x, y });
  return codes;
}
