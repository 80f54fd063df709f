// Our own runner: the npm package as users have it; products through the test module, which can run
// one kernel alone.

import { Trainer, load, variant } from "potluck-engine";
import { ADAMW } from "../workloads.mjs";
import { serve } from "./page.mjs";

/** @type {WebAssembly.Module} */
let module;

serve({
  async prepare() {
    module = await WebAssembly.compileStreaming(fetch(`/potluck/${variant}/potluck_engine_js_bg.wasm`));
  },
  async open({ workload, program, weights, operands }, backend) {
    const where = backend === "wasm" ? "cpu" : "webgpu";
    if (workload.kind === "matmul") {
      const { default: init, Product } = await import(`/web-tests/${variant}/potluck_tests_web.js`);
      await init();
      const product = await Product.open(where, workload.form, workload.size, operands[0], operands[1]);
      return { adapter: "", multiply: () => product.run(), corner: () => product.corner() };
    }
    await load(module);
    const { batch, optimizer } = workload;
    // Peers clip nothing, so neither do we; the kernels that would run all the same.
    const options = { ...ADAMW, backend: where, batch, optimizer, weights, clipNorm: 1e9 };
    const trainer = await Trainer.create(program, options);
    return { adapter: trainer.info.adapter, step: (columns) => trainer.step(columns) };
  },
});
