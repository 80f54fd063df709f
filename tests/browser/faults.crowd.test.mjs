// A real run with people who come and go: what its log says, and what somebody fetches who returns. What
// it ends with is printed beside the simulator's band and not held against it yet: docs/training.md
// says how far they are apart.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Crowd, JOB_FILE, scheduleFrom } from "./crowd.mjs";
import { at } from "./project.mjs";

/** Another schedule: POTLUCK_CROWD_SEED=N. */
const SEED = Number(process.env.POTLUCK_CROWD_SEED ?? 1);

const TEST_MILLIS = 420_000;

/** Seeds that a band is made of, at least. */
const BAND_SEEDS = 20;

async function readBand() {
  const { rows } = JSON.parse(await readFile(at("docs/measurements/sim-band.json"), "utf8"));
  return /** @type {Record<string, any>[]} */ (rows);
}

test("the band of the simulator belongs to the job file of the crowd", async () => {
  const [band, file] = await Promise.all([readBand(), readFile(JOB_FILE)]);
  const hash = createHash("sha256").update(file).digest("hex");
  const remake = "make it again: cargo xtask sim band --job tests/browser/crowd/job.toml";
  assert.ok(band.every((row) => hash.startsWith(row["job file"]) && row["job file"].length >= 16), remake);
  assert.ok(new Set(band.map((row) => row.seed)).size >= BAND_SEEDS, remake);
  assert.ok(band.every((row) => Number.isFinite(row["valid loss"])), remake);
});

test("four tabs come, go, are killed and return: the log adds up, and deltas are enough", { timeout: TEST_MILLIS }, async () => {
  const schedule = scheduleFrom(SEED);
  const began = performance.now();
  const crowd = await Crowd.start(at("target/e2e", "crowd"));
  try {
    await crowd.gather();
    const [first, second] = crowd.tabs;
    await Promise.all([first.come(), second.come()]);
    const returns = [];
    for (const { at: share, what, who } of schedule) {
      await crowd.merged(share);
      if (what === "come") await crowd.tabs[who].come();
      if (what === "kill") crowd.tabs[who].kill();
      if (what === "return") returns.push(await crowd.goAndReturn(who));
    }
    const last = await crowd.finished();
    const { budget_samples } = await crowd.status();
    const [history, tally] = [await crowd.history(), await crowd.contributions()];

    assert.ok(last.samples >= budget_samples, `${last.samples} of ${budget_samples} samples`);
    // The killed may have gone before their first credit; those that came after them stayed.
    const backends = tally.filter((row) => row.tasks > 0).map((row) => row.backend);
    for (const backend of ["webgpu", "wasm"]) {
      assert.ok(backends.filter((one) => one === backend).length >= 2, backends.join(", "));
    }

    const whole = new Set(history.map((row) => `/api/v1/blobs/${row.base}`));
    for (const { name, left, met, fetched } of returns) {
      const words = `${name}, gone at version ${left}, back at ${met}: ${JSON.stringify(fetched)}`;
      assert.deepEqual(fetched.filter(({ path }) => whole.has(path)), [], words);
    }

    const losses = (await readBand()).map((row) => row["valid loss"]);
    const band = `${Math.min(...losses)} to ${Math.max(...losses)} in the simulator`;
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`crowd: seed ${SEED}, ${last.version} versions, loss ${last.loss}, ${band}, ${seconds} s`);

    const verified = await crowd.verified();
    assert.equal(verified.versions, String(last.version));
    assert.equal(verified["made again"], verified.versions);
  } catch (error) {
    console.log(`seed ${SEED}: ${JSON.stringify(schedule)}`);
    console.log(crowd.coordinator.output.join("\n"));
    throw error;
  } finally {
    await crowd.end();
  }
});
