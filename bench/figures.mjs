// From single iterations to rows, ratios and limits. Pure.

import { atMost } from "../tests/browser/measure.mjs";

/** First losses of the same weights and data agree within this, relative, or something else was measured. */
export const FIRST_LOSS_TOLERANCE = 1e-4;

/** A product's first value sums 512 terms that cancel: absolute, in units of its operands' largest. */
const CORNER_TOLERANCE = 1e-4;

const RATIO_MAX = 0.5;
const WARM_MILLIS_MAX = { webgpu: 3000, wasm: 1000 };
const DISPATCHES_MAX = 60;
const SUBMITS_MAX = 1;
const MUON_ADDS_MAX = 45;

const GPT = "gpt-l2-c64-h4-t64-b8-v65";
const MUON = `${GPT}-muon`;

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const spread = (values) => ({ median: median(values), low: Math.min(...values), high: Math.max(...values) });

/** Four significant digits: more would claim what the clock cannot. */
const rounded = (value) => Number(value.toPrecision(4));

/**
 * @typedef {{ millis: number, loss: number | null, dispatches: number, submits: number }} Iteration
 * @typedef {{ workload: string, runner: string, browser: string, backend: string, warm: number[], first: number,
 *   iterations: Iteration[] }} Measured
 */

/** One row in the project's form. @param {Measured} measured */
export function row({ workload, runner, browser, backend, warm, first, iterations }) {
  const millis = spread(iterations.map((one) => one.millis));
  const last = iterations.at(-1);
  const onGpu = backend === "webgpu";
  return {
    workload,
    runner,
    browser,
    backend,
    ms_per_step: rounded(millis.median),
    ms_low: rounded(millis.low),
    ms_high: rounded(millis.high),
    dispatches_per_step: onGpu ? median(iterations.map((one) => one.dispatches)) : null,
    submits_per_step: onGpu ? median(iterations.map((one) => one.submits)) : null,
    warm_ms: rounded(median(warm)),
    first_loss: first,
    last_loss: last?.loss ?? first,
    iterations: iterations.length,
  };
}

/** A workload that a runner cannot do, with the reason in its own words. */
export const absent = (workload, runner, browser, backend, why) => ({ workload, runner, browser, backend, absent: why });

/** Our time over the peer's, iteration by iteration, since they took turns. @param {Measured} ours @param {Measured} peer */
export function ratio(ours, peer) {
  const pairs = Math.min(ours.iterations.length, peer.iterations.length);
  const each = Array.from({ length: pairs }, (_, i) => ours.iterations[i].millis / peer.iterations[i].millis);
  const { median: middle, low, high } = spread(each);
  return { peer: peer.runner, median: rounded(middle), low: rounded(low), high: rounded(high) };
}

/** What is wrong with first losses of one workload on one backend, if anything. @param {Measured[]} measured */
export function disagreement(measured) {
  const [one, ...others] = measured;
  for (const other of others) {
    const gap = Math.abs(one.first - other.first);
    const allowed = one.workload.startsWith("matmul") ? CORNER_TOLERANCE : FIRST_LOSS_TOLERANCE * Math.abs(one.first);
    // Written so that NaN disagrees.
    if (!(gap <= allowed)) {
      return `${one.workload}: first loss ${one.first} of ${one.runner}, ${other.first} of ${other.runner}`;
    }
  }
  return null;
}

/** The limits that these rows can speak of. @param {any[]} rows */
export function limits(rows) {
  const found = [];
  const ours = rows.filter(({ runner, absent }) => runner === "potluck" && !absent);
  for (const { workload, backend, ratios } of ours) {
    const peer = ratios?.find((one) => one.peer === "jax-js");
    if (peer && !workload.startsWith("matmul")) {
      found.push(atMost(`${workload} on ${backend}: step time over jax-js's`, RATIO_MAX, peer.median));
    }
  }
  const step = (workload, backend) => ours.find((one) => one.workload === workload && one.backend === backend);
  for (const [backend, millis] of Object.entries(WARM_MILLIS_MAX)) {
    const gpt = step(GPT, backend);
    if (gpt) found.push(atMost(`${GPT} on ${backend}: ms to the first loss`, millis, gpt.warm_ms));
  }
  const [gpt, muon] = [step(GPT, "webgpu"), step(MUON, "webgpu")];
  if (gpt) found.push(atMost(`${GPT}: dispatches a step`, DISPATCHES_MAX, gpt.dispatches_per_step));
  if (gpt) found.push(atMost(`${GPT}: submits a step`, SUBMITS_MAX, gpt.submits_per_step));
  if (gpt && muon) {
    const adds = muon.dispatches_per_step - gpt.dispatches_per_step;
    found.push(atMost(`${GPT}: dispatches that Muon adds`, MUON_ADDS_MAX, adds));
  }
  return found;
}
