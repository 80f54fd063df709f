// What a person sees while the demo trains: one line that moves on a terminal, plain lines elsewhere.

/** Plain lines are for logs: one for each tenth of the budget says enough. */
const PLAIN_STEPS = 10;

/** @param {number | null | undefined} share */
export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);

/** @param {number | null | undefined} value */
export const decimal = (value) => (value === null || value === undefined ? "–" : value.toFixed(4));

/** @param {number} flops */
export function flopsInWords(flops) {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let power = 0;
  for (; flops >= 1000 && power < prefixes.length - 1; power += 1) flops /= 1000;
  return `${flops.toPrecision(3)} ${prefixes[power]}FLOP`;
}

/** A table with aligned columns; numbers to the right. @param {(string | number)[][]} rows the first one names the columns */
export function table(rows) {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en") : cell)));
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const isNumber = rows.at(-1)?.map((cell) => typeof cell === "number") ?? [];
  const line = (row) =>
    row.map((cell, column) => (isNumber[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join("  ");
  return cells.map((row) => `  ${line(row)}`.trimEnd()).join("\n");
}

export class Progress {
  constructor() {
    this.moves = process.stdout.isTTY === true;
    this.told = -1;
  }

  /** @param {Record<string, any>} status answer of `GET jobs/{job}` @param {string} who */
  show(status, who) {
    const share = Math.min(1, status.samples / status.budget_samples);
    const words = `v${status.version}  loss ${decimal(status.loss.valid)}  accuracy ${percent(status.accuracy.valid)}  ${who}`;
    if (this.moves) {
      const bar = "#".repeat(Math.round(24 * share)).padEnd(24, ".");
      const line = `  [${bar}] ${Math.floor(100 * share)} %  ${words}`;
      process.stdout.write(`\r\x1b[2K${line.slice(0, (process.stdout.columns ?? 100) - 1)}`);
      return;
    }
    const step = Math.floor(PLAIN_STEPS * share);
    if (step === this.told) return;
    this.told = step;
    console.log(`  ${String(Math.floor(100 * share)).padStart(3)} %  ${words}`);
  }

  end() {
    if (this.moves) process.stdout.write("\r\x1b[2K");
  }
}
