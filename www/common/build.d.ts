// Constants that build.mjs writes into the bundles. Nothing else comes from outside the sources.

/** Version of the package, such as `0.1.0`. */
declare const POTLUCK_VERSION: string;

/** One variant of the wasm package. */
interface WasmBuild {
  /** wasm-bindgen's glue. */
  glue: string;
  /** The wasm itself. */
  wasm: string;
  /** Hash in the wasm's name: what a `hello` names as its build. */
  build: string;
  /** Compressed bytes of glue and wasm together. */
  bytes: number;
}

/** Names of the hashed files beside the widget's script, and what they weigh on the wire. */
declare const POTLUCK_FILES: {
  /** The module worker; not known to the worker itself. */
  worker: string;
  /** Its compressed bytes. */
  workerBytes: number;
  /** For browsers with SIMD, and for those with relaxed SIMD. */
  builds: { simd: WasmBuild; relaxed: WasmBuild };
};

// esbuild splits styles off into a file of their own; the import has no value.
declare module "*.css";
