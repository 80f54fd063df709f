/** One typed array a column of the program, samples one after another, row-major. */
export type Batch = Record<string, Float32Array | Uint32Array>;

/** What the wasm can be loaded from; by default from beside the package's script. */
export type WasmSource = string | URL | Request | Response | BufferSource | WebAssembly.Module;

/** A program as an object: a preset's, or one written by hand in the format of `potluck-program/1`. */
export type Program = Readonly<Record<string, unknown>>;

/** Linear layers with ReLU between them. Columns: `x` f32 `[features]`, `y` u32. */
export interface MlpConfig {
  features: number;
  hidden: number[];
  classes: number;
}

/** Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then a linear layer. Columns: `x` f32 `[c, h, w]`, `y` u32. */
export interface CnnConfig {
  /** Channels, rows, columns. */
  image: [number, number, number];
  /** Channels of each block. */
  channels: number[];
  /** A second convolution with a skip connection in each block. */
  residual?: boolean;
  classes: number;
}

/** A pre-norm causal transformer. Columns: `x` and `y` u32 `[context]`, the next token at each position. */
export interface GptConfig {
  vocabulary: number;
  context: number;
  layers: number;
  width: number;
  heads: number;
  /** Fewer than `heads` for grouped queries. */
  kvHeads?: number;
  /** Width of the feed-forward half; 4 x width. */
  hidden?: number;
  /** Base of rotary positions, 10000 in the paper; learned positions where it is not given. */
  rotaryBase?: number;
  /** SwiGLU without biases in place of GELU with them. */
  swiglu?: boolean;
  /** RMS norm in place of layer norm. */
  rmsNorm?: boolean;
  /** The head is the embedding table again. */
  tiedHead?: boolean;
  dropout?: number;
}

/** A vision transformer. Columns: `x` f32 `[c, h, w]`, `y` u32. */
export interface VitConfig {
  image: [number, number, number];
  patch: number;
  layers: number;
  width: number;
  heads: number;
  classes: number;
}

export interface TrainerOptions {
  /** Samples of a step, 1 to 4096. */
  batch: number;
  /** `auto` takes WebGPU where there is an adapter and does not measure which is faster. */
  backend?: "auto" | "webgpu" | "cpu";
  optimizer?: "adamw" | "muon" | "sgd";
  /** Learning rate of a step that names none; 1e-3. */
  lr?: number;
  /** Global gradient norm above which a gradient is scaled down; 1. */
  clipNorm?: number;
  beta1?: number;
  beta2?: number;
  eps?: number;
  momentum?: number;
  weightDecay?: number;
  /** Of the first weights where none are given, and of dropout; 0. */
  seed?: number;
  /**
   * Measures first, for up to a second, which way to compute each kernel is the fastest on this GPU. The
   * choice is part of `info.plan`: on another GPU the last bits may differ. `false`.
   */
  tune?: boolean;
  /** First weights in the program's order. */
  weights?: Float32Array;
}

export interface TrainerInfo {
  readonly backend: "webgpu" | "cpu";
  /** The adapter's own name; empty on `cpu`. */
  readonly adapter: string;
  readonly batch: number;
  /** Number of trainable values. */
  readonly parameters: number;
  /** Kernels that a training step runs, all in one submit. */
  readonly dispatches: number;
  readonly memoryBytes: number;
  /** Everything that can change a bit of the result, hashed. */
  readonly plan: string;
  /** How each kernel of a step is laid over the GPU, in order; `cpu` knows one way and ignores it. */
  readonly tiers: readonly Tier[];
  /** What `tune` came to; null without it. */
  readonly tuning: Tuning | null;
}

/** `Plain`: any sizes. `Registers`: more work an invocation. `Shared`: through workgroup memory. `Quads`: through the registers of neighbours, where the device has subgroups. */
export type Tier = "Plain" | "Registers" | "Shared" | "Quads";

export interface Tuning {
  /** Kernels that were measured; the same shape on the same device is measured once. */
  readonly measured: number;
  /** Those of them that take another tier than the usual one. */
  readonly changed: number;
  /** Those for which there was no time. */
  readonly left: number;
  /** Why nothing was measured: there is no choice on `cpu`, and an adapter that is a `software` program would take longer to compile the choices than it could gain. */
  readonly skipped: "cpu" | "software" | null;
}

/**
 * What every call rejects with. `code` is one of `program`, `options`, `preset`, `weights`, `column-name`,
 * `column-type`, `column-length`, `column-value`, `no-adapter`, `too-large`, `device`, `device-lost`, `freed`.
 */
export interface PotluckError extends Error {
  readonly name: "PotluckError";
  readonly code: string;
}

/** Which of the two builds this browser runs: with relaxed SIMD where there is any. */
export const variant: "simd" | "relaxed";

/** Loads and compiles the wasm. Whatever needs it does so by itself; call this to do it earlier, or from elsewhere: then from the build that `variant` names. */
export function load(source?: WasmSource): Promise<void>;

export function mlp(config: MlpConfig): Promise<Program>;
export function cnn(config: CnnConfig): Promise<Program>;
export function gpt(config: GptConfig): Promise<Program>;
export function vit(config: VitConfig): Promise<Program>;

/** One kernel of a training step, on a GPU that nobody measured. */
export interface ExplainedKernel {
  readonly kernel: string;
  /** How it is laid over the GPU. */
  readonly tier: Tier;
  /** Its sizes, for people. */
  readonly sizes: string;
  readonly flops: number;
  /** Operands once and results once. */
  readonly bytesMin: number;
  /** What the workgroups read and write together. */
  readonly bytesMoved: number;
  /** The least time on a GPU of 4 TFLOP/s and 100 GB/s, if only `bytesMin` moved. */
  readonly floorMicros: number;
  /** The same with `bytesMoved`. */
  readonly movedMicros: number;
}

export interface Explanation {
  readonly parameters: number;
  readonly memoryBytes: number;
  readonly kernels: readonly ExplainedKernel[];
}

/** What a training step would run, kernel by kernel; opens no device. */
export function explain(program: Program, options: TrainerOptions): Promise<Explanation>;

/** A program on a device. Calls that overlap are done one after another. */
export class Trainer {
  private constructor();
  static create(program: Program, options: TrainerOptions): Promise<Trainer>;
  readonly info: TrainerInfo;
  /** One optimizer step; resolves to the batch's mean loss before it. */
  step(batch: Batch, options?: { lr?: number }): Promise<number>;
  /** The prediction (logits) for a batch of at most `batch` samples; the labels may be left out. */
  forward(batch: Batch): Promise<Float32Array>;
  /** All parameters in the program's order, f32 little-endian. */
  weights(): Promise<Uint8Array>;
  /** Gives the device's memory back once the calls before it are done. */
  free(): void;
}
