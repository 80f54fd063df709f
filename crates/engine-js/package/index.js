// The package's face: loads the wasm once, and gives every trainer a queue, so that calls that
// overlap wait for their turn instead of failing.

/** @typedef {typeof import("./simd/potluck_engine_js.js")} Glue */

/** A function of `i8x16.relaxed_swizzle` and nothing else. */
const RELAXED_SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
]);

/** A module with one instruction that the engine does not know loads not at all, so there are two. */
export const variant = WebAssembly.validate(RELAXED_SIMD) ? "relaxed" : "simd";

/** @type {Promise<Glue> | undefined} */
let loading;

/** @param {import("./index.js").WasmSource} [source] @returns {Promise<Glue>} */
async function glueFrom(source) {
  const glue = await (variant === "relaxed"
    ? import("./relaxed/potluck_engine_js.js")
    : import("./simd/potluck_engine_js.js"));
  await glue.default(source === undefined ? undefined : { module_or_path: source });
  return glue;
}

/** @param {import("./index.js").WasmSource} [source] */
function loaded(source) {
  loading ??= glueFrom(source).catch((error) => {
    // A failed download must not be the last word.
    loading = undefined;
    throw error;
  });
  return loading;
}

/** @param {import("./index.js").WasmSource} [source] */
export async function load(source) {
  await loaded(source);
}

/** @param {"mlp" | "cnn" | "gpt" | "vit"} name @param {object} config */
async function program(name, config) {
  const { preset } = await loaded();
  return JSON.parse(preset(name, JSON.stringify(config)));
}

/** @param {import("./index.js").MlpConfig} config */
export const mlp = (config) => program("mlp", config);
/** @param {import("./index.js").CnnConfig} config */
export const cnn = (config) => program("cnn", config);
/** @param {import("./index.js").GptConfig} config */
export const gpt = (config) => program("gpt", config);
/** @param {import("./index.js").VitConfig} config */
export const vit = (config) => program("vit", config);

/** @param {object} program @param {import("./index.js").TrainerOptions} options */
export async function explain(program, options) {
  const { explain } = await loaded();
  const { weights: _, ...plain } = options ?? {};
  return JSON.parse(explain(JSON.stringify(program), JSON.stringify(plain)));
}

const FREED = "this trainer was freed";

/** What only `create` has. */
const KEY = Symbol("create");

export class Trainer {
  #engine;
  /** The end of the last call. @type {Promise<unknown>} */
  #last = Promise.resolve();
  #freed = false;

  /** @param {symbol} key @param {import("./simd/potluck_engine_js.js").EngineTrainer} engine */
  constructor(key, engine) {
    if (key !== KEY) throw new TypeError("use `await Trainer.create(program, options)`");
    this.#engine = engine;
    /** @type {import("./index.js").TrainerInfo} */
    this.info = Object.freeze(JSON.parse(engine.describe()));
  }

  /** @param {object} program @param {import("./index.js").TrainerOptions} options */
  static async create(program, options) {
    const { EngineTrainer } = await loaded();
    const { weights, ...plain } = options ?? {};
    if (weights !== undefined && !(weights instanceof Float32Array)) {
      throw fault("weights", "options.weights must be a Float32Array");
    }
    const engine = await EngineTrainer.create(JSON.stringify(program), JSON.stringify(plain), weights);
    return new Trainer(KEY, engine);
  }

  /** @param {import("./index.js").Batch} batch @param {{ lr?: number }} [options] */
  step(batch, { lr } = {}) {
    return this.#next((engine) => engine.step(batch, lr));
  }

  /** @param {import("./index.js").Batch} batch */
  forward(batch) {
    return this.#next((engine) => engine.forward(batch));
  }

  weights() {
    return this.#next((engine) => engine.weights());
  }

  free() {
    if (this.#freed) return;
    this.#freed = true;
    this.#last.finally(() => this.#engine.free());
  }

  /**
   * @template T
   * @param {(engine: import("./simd/potluck_engine_js.js").EngineTrainer) => Promise<T>} call
   * @returns {Promise<T>}
   */
  #next(call) {
    if (this.#freed) return Promise.reject(fault("freed", FREED));
    const result = this.#last.then(() => call(this.#engine));
    this.#last = result.catch(() => {});
    return result;
  }
}

/** @param {string} code @param {string} message */
function fault(code, message) {
  return Object.assign(new Error(message), { name: "PotluckError", code });
}
