// What every runner's page does alike: counts what reaches the GPU, keeps the clock, and answers the
// driver. A runner brings `prepare` (outside of the clock) and `open`.

import { PRODUCTS, WORKLOADS, batches, operands } from "../workloads.mjs";

/**
 * @typedef {{
 *   adapter: string,
 *   step?: (batch: import("../workloads.mjs").Batch) => Promise<number>,
 *   multiply?: () => Promise<void>,
 *   corner?: () => Promise<number>,
 * }} Opened what a runner opens: a training step that resolves to its loss once everything is done, or a product
 *   that resolves when it is done, and the product's first value
 */

/** Commands that reached the GPU, whoever sent them. */
const sent = { dispatches: 0, submits: 0 };

function countCommands() {
  if (!("GPUQueue" in self)) return;
  const wrap = (prototype, name, count) => {
    const original = prototype[name];
    prototype[name] = function (...values) {
      count(...values);
      return original.apply(this, values);
    };
  };
  wrap(GPUComputePassEncoder.prototype, "dispatchWorkgroups", () => (sent.dispatches += 1));
  wrap(GPUComputePassEncoder.prototype, "dispatchWorkgroupsIndirect", () => (sent.dispatches += 1));
  // An empty submit carries no work; it only asks the queue whether it is done.
  wrap(GPUQueue.prototype, "submit", (buffers) => (sent.submits += buffers.length > 0 ? 1 : 0));
}

/** The parameters of a program by name, cut from one array. */
function named(program, weights) {
  let from = 0;
  return program.parameters.map(({ name, shape }) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const values = weights.subarray(from, from + length);
    from += length;
    return { name, shape, values };
  });
}

/** @param {{ prepare: (backend: string) => Promise<void>, open: (job: any, backend: string) => Promise<Opened> }} runner */
export function serve({ prepare, open }) {
  countCommands();
  /** @type {Opened} */
  let opened;
  let job;
  let done = 0;

  async function iterate() {
    Object.assign(sent, { dispatches: 0, submits: 0 });
    const started = performance.now();
    if (job.workload.kind === "matmul") {
      for (let product = 0; product < PRODUCTS; product += 1) await opened.multiply?.();
      const millis = (performance.now() - started) / PRODUCTS;
      return { millis, loss: null, dispatches: sent.dispatches / PRODUCTS, submits: sent.submits / PRODUCTS };
    }
    const loss = await opened.step?.(job.batches[done % job.batches.length]);
    const millis = performance.now() - started;
    done += 1;
    return { millis, loss, ...sent };
  }

  /** Opens a workload and does its first iteration; the clock starts with the runner's own work. */
  async function begin(name, backend) {
    const workload = WORKLOADS.find((one) => one.name === name);
    job = { workload };
    if (workload?.kind === "train") {
      const { program } = await (await fetch(`/programs/${name}.json`)).json();
      const weights = new Float32Array(await (await fetch(`/programs/${name}.bin`)).arrayBuffer());
      Object.assign(job, { program, weights, parameters: named(program, weights), batches: batches(workload) });
    } else {
      Object.assign(job, { operands: operands(workload) });
    }
    await prepare(backend);
    const started = performance.now();
    opened = await open(job, backend);
    const { loss } = await iterate();
    const millis = performance.now() - started;
    return { millis, loss: loss ?? (await opened.corner?.()), adapter: opened.adapter };
  }

  Object.assign(self, { bench: { begin, iterate } });
}
