// Which variant of the wasm package this browser runs. A module that holds one instruction which the
// browser does not know fails to load whole, so there are two, and this asks before a byte is fetched.

/** A function of `i8x16.relaxed_swizzle` and nothing else. */
const RELAXED_SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
]);

/** Relaxed SIMD where there is any: its multiply-adds are fused, and about half as fast again. */
export function wasmBuild(): WasmBuild {
  return WebAssembly.validate(RELAXED_SIMD) ? POTLUCK_FILES.builds.relaxed : POTLUCK_FILES.builds.simd;
}
