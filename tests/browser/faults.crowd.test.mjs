// A real run with people who come and go: what its log says, what somebody fetches who returns, and
// that it ends where the simulator says that such a run may end.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Crowd, JOB_FILE, scheduleFrom } from "./crowd.mjs";
import { at } from "./project.mjs";

/** Another schedule: POTLUCK_CROWD_SEED=N. */
const SEED = Number(process.env.POTLUCK_CROWD_SEED ?? 1);

/** A minute or two; where six others want the same two cores it was five. */
const TEST_MILLIS = 600_000;

/** Seeds that a band is made of, at least. */
const BAND_SEEDS = 20;

/** What rows of the band itself are called; the others are training that went wrong on purpose. */
const RIGHT = "as the file says";

/** @typedef {{ run: string, "job file": string, seed: number, "valid loss": number | null }} Row */

async function readBand() {
  const { rows } = JSON.parse(await readFile(at("docs/measurements/sim-band.json"), "utf8"));
  const [right, wrong] = [true, false].map((is) => /** @type {Row[]} */ (rows).filter(({ run }) => (run === RIGHT) === is));
  const losses = right.map((row) => row["valid loss"] ?? NaN);
  return { right, wrong, losses, least: Math.min(...losses), most: Math.max(...losses) };
}

test("the band of the simulator belongs to the job file of the crowd, and wrong training is outside of it", async () => {
  const [{ right, wrong, losses, least, most }, file] = await Promise.all([readBand(), readFile(JOB_FILE)]);
  const hash = createHash("sha256").update(file).digest("hex");
  const remake = "make it again: cargo xtask sim band --job tests/browser/crowd/job.toml";
  assert.ok([...right, ...wrong].every((row) => hash.startsWith(row["job file"]) && row["job file"].length >= 16), remake);
  assert.ok(new Set(right.map((row) => row.seed)).size >= BAND_SEEDS, remake);
  assert.ok(losses.every(Number.isFinite), remake);
  assert.ok(wrong.length > 0, remake);
  for (const { run, seed, "valid loss": loss } of wrong) {
    assert.ok(loss === null || loss < least || loss > most, `${run}, seed ${seed}: ${loss} is in ${least} to ${most}`);
  }
});

test("four tabs come, go, are killed and return: the log adds up, and deltas are enough", { timeout: TEST_MILLIS }, async () => {
  const schedule = scheduleFrom(SEED);
  const began = performance.now();
  const crowd = await Crowd.start(at("target/e2e", "crowd"));
  try {
    await crowd.begin();
    const returns = [];
    for (const { at: share, what, who } of schedule) {
      await crowd.merged(share);
      const turned = performance.now();
      if (what === "come") await crowd.come(who);
      if (what === "kill") crowd.tabs[who].kill();
      if (what === "return") returns.push(await crowd.goAndReturn(who));
      const seconds = ((performance.now() - turned) / 1000).toFixed(1);
      console.log(`crowd: ${what}, ${crowd.tabs[who].name}, at ${(100 * share).toFixed(0)} %: ${seconds} s`);
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

    const { least, most } = await readBand();
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    const ended = `seed ${SEED}: loss ${last.loss} after ${last.version} versions, ${least} to ${most} in the simulator`;
    console.log(`crowd: ${ended}, ${seconds} s`);
    assert.ok(least <= last.loss && last.loss <= most, ended);

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
