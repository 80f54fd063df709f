// The figures as text for people.

const COLUMNS = ["workload", "backend", "runner", "ms/step", "low", "high", "dispatches", "submits", "warm ms", "first loss", "last loss", "ours/peer"];

const shown = (value) => (value === null || value === undefined ? "-" : String(value));
const loss = (value) => (value === null || value === undefined ? "-" : value.toPrecision(6));

/** Our time over this row's, where this is a peer's. */
function overPeer(rows, { workload, backend, runner }) {
  const ours = rows.find((one) => one.runner === "potluck" && one.workload === workload && one.backend === backend);
  const found = ours?.ratios?.find((one) => one.peer === runner);
  return found ? `${found.median} (${found.low}-${found.high})` : "-";
}

/** @param {any[]} rows */
export function cells(rows) {
  return rows.map((row) => {
    const { workload, backend, runner } = row;
    if (row.absent) return [workload, backend, runner, "absent", ...Array(COLUMNS.length - 4).fill("-")];
    const times = [row.ms_per_step, row.ms_low, row.ms_high].map(shown);
    const counts = [row.dispatches_per_step, row.submits_per_step, row.warm_ms].map(shown);
    return [workload, backend, runner, ...times, ...counts, loss(row.first_loss), loss(row.last_loss), overPeer(rows, row)];
  });
}

/** @param {any[]} rows */
export function printRows(rows) {
  const lines = [COLUMNS, ...cells(rows)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  console.log();
  for (const line of lines) console.log(line.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd());
  for (const row of rows.filter((one) => one.absent)) console.log(`${row.runner}, ${row.workload}, ${row.backend}: ${row.absent}`);
}

/** @param {import("../tests/browser/measure.mjs").Limit[]} limits */
export function printLimits(limits) {
  console.log();
  for (const { what, limit, value, holds } of limits) {
    console.log(`${holds ? "holds  " : "BROKEN "} ${what}: ${value}, limit ${limit}`);
  }
}
