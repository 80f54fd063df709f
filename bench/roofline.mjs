// What cannot be measured without a GPU: every kernel of a GPT step with its arithmetic and bytes,
// and the least time on a laptop's. Computed by the engine from the plan; here it is grouped and
// written down.

import { writeMeasurement } from "../tests/browser/measure.mjs";
import { ADAMW, WORKLOADS } from "./workloads.mjs";

/** Kernels of one kind and size as one row. @param {string} workload @param {any[]} kernels */
export function grouped(workload, kernels) {
  /** @type {Map<string, any>} */
  const rows = new Map();
  for (const one of kernels) {
    const key = `${one.kernel} ${one.tier} ${one.sizes}`;
    const row = rows.get(key) ?? {
      workload,
      kernel: one.kernel,
      tier: one.tier,
      sizes: one.sizes,
      count: 0,
      flops: one.flops,
      bytes_min: one.bytesMin,
      bytes_moved: one.bytesMoved,
      floor_us: round(one.floorMicros),
      moved_us: round(one.movedMicros),
      bound: one.floorMicros > (one.bytesMin / 100e9) * 1e6 ? "arithmetic" : "memory",
    };
    row.count += 1;
    rows.set(key, row);
  }
  return [...rows.values()].sort((a, b) => b.count * b.moved_us - a.count * a.moved_us);
}

const round = (micros) => Number(micros.toPrecision(3));

/** The whole step as one row. @param {any[]} rows */
export function total(rows) {
  const sum = (field) => rows.reduce((all, row) => all + row.count * row[field], 0);
  return {
    workload: rows[0].workload,
    kernel: "all",
    tier: "",
    sizes: "",
    count: rows.reduce((all, row) => all + row.count, 0),
    flops: sum("flops"),
    bytes_min: sum("bytes_min"),
    bytes_moved: sum("bytes_moved"),
    floor_us: round(sum("floor_us")),
    moved_us: round(sum("moved_us")),
    bound: "",
  };
}

/** @param {any[]} rows */
function print(rows) {
  const line = (cells) => console.log(cells.map((cell, i) => (i < 2 ? cell.padEnd([20, 46][i]) : cell.padStart(12))).join(""));
  line(["kernel", "sizes", "count", "MFLOP", "KB min", "KB moved", "floor us", "moved us"]);
  for (const row of rows) {
    const each = [row.flops / 1e6, row.bytes_min / 1e3, row.bytes_moved / 1e3].map((value) => value.toFixed(2));
    line([row.kernel, row.sizes, String(row.count), ...each, String(row.floor_us), String(row.moved_us)]);
  }
}

/** Prints and writes `target/measure/roofline.json`. @param {any} engine the npm package, loaded */
export async function writeRoofline(engine) {
  const all = [];
  for (const workload of WORKLOADS) {
    if (workload.kind !== "train" || workload.preset !== "gpt") continue;
    const { name, config, batch, optimizer } = workload;
    const { kernels } = await engine.explain(await engine.gpt(config), { ...ADAMW, batch, optimizer });
    const rows = grouped(name, kernels);
    rows.push(total(rows));
    console.log(`\n${name}: one of each kernel, count times; on 4 TFLOP/s and 100 GB/s`);
    print(rows);
    all.push(...rows);
  }
  return writeMeasurement("roofline", all, []);
}
