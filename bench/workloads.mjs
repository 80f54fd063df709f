// What is measured: models, sizes, batches and data, the same for every runner. Knows no runner.

/**
 * @typedef {{ name: string, kind: "matmul", form: "nn" | "nt" | "tn", size: number }} Matmul
 * @typedef {{
 *   name: string, kind: "train", preset: "mlp" | "cnn" | "gpt", config: Record<string, any>, batch: number,
 *   optimizer?: "adamw" | "muon", runners?: string[],
 * }} Training
 * @typedef {Matmul | Training} Workload
 * @typedef {Record<string, Float32Array | Uint32Array>} Batch
 */

/** Awaited products in one iteration of a matmul workload: enough to be well above the page's clock. */
export const PRODUCTS = 8;

/** AdamW's constants, the engine's usual ones; decay is of matrices only. */
export const ADAMW = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };

/** Batches that the steps take in turn. */
const BATCHES = 4;

const gpt = (layers, width, heads, context) => ({ vocabulary: 65, context, layers, width, heads });

/** @type {Workload[]} */
export const WORKLOADS = [
  ...[256, 512].flatMap((size) =>
    /** @type {const} */ (["nn", "nt", "tn"]).map(
      (form) => /** @type {Matmul} */ ({ name: `matmul-${form}-${size}`, kind: "matmul", form, size }),
    ),
  ),
  {
    name: "mlp-784-256-128-10-b256",
    kind: "train",
    preset: "mlp",
    config: { features: 784, hidden: [256, 128], classes: 10 },
    batch: 256,
  },
  {
    name: "cnn-28x28-b64",
    kind: "train",
    preset: "cnn",
    config: { image: [1, 28, 28], channels: [8, 16], classes: 10 },
    batch: 64,
  },
  { name: "gpt-l2-c64-h4-t64-b8-v65", kind: "train", preset: "gpt", config: gpt(2, 64, 4, 64), batch: 8 },
  {
    name: "gpt-l2-c64-h4-t64-b8-v65-muon",
    kind: "train",
    preset: "gpt",
    config: gpt(2, 64, 4, 64),
    batch: 8,
    optimizer: "muon",
    // No peer has Muon.
    runners: ["potluck"],
  },
  { name: "gpt-l4-c128-h4-t128-b8-v65", kind: "train", preset: "gpt", config: gpt(4, 128, 4, 128), batch: 8 },
];

/** Random numbers in [0, 1) from a seed ("mulberry32"), the same in every page. @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The two operands of a product, in [-1, 1). @param {Matmul} workload */
export function operands({ size }) {
  const next = random(7);
  return [0, 1].map(() => Float32Array.from({ length: size * size }, () => 2 * next() - 1));
}

/** @param {Training} workload @returns {Batch[]} */
export function batches({ preset, config, batch }) {
  const next = random(11);
  const whole = (length, below) => Uint32Array.from({ length }, () => Math.floor(next() * below));
  const one = () => {
    if (preset === "gpt") {
      const tokens = whole(batch * (config.context + 1), config.vocabulary);
      return windows(tokens, batch, config.context);
    }
    const values = preset === "mlp" ? config.features : config.image.reduce((a, b) => a * b, 1);
    return { x: Float32Array.from({ length: batch * values }, next), y: whole(batch, config.classes) };
  };
  return Array.from({ length: BATCHES }, one);
}

/** Each sample's tokens, and the next token at each position. */
function windows(tokens, batch, context) {
  const x = new Uint32Array(batch * context);
  const y = new Uint32Array(batch * context);
  for (let sample = 0; sample < batch; sample += 1) {
    const from = sample * (context + 1);
    x.set(tokens.subarray(from, from + context), sample * context);
    y.set(tokens.subarray(from + 1, from + 1 + context), sample * context);
  }
  return { x, y };
}
