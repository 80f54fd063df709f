// Node's test events as lines of JSON for `cargo xtask test`. A skipped test is reported as
// failed: no adapter and no browser must never look like a pass.
import { basename } from "node:path";

const isSuite = (data) => data.details?.type === "suite";

/** Tests that hold subtests would count twice; their own line comes after their children's. */
function isParent(data, children) {
  const key = `${data.file}:${data.nesting + 1}`;
  const had = children.get(key) ?? 0;
  children.set(key, 0);
  return had > 0;
}

export default async function* reporter(events) {
  const children = new Map();
  for await (const { type, data } of events) {
    if (type === "test:stdout" || type === "test:stderr") yield data.message;
    if (type !== "test:pass" && type !== "test:fail") continue;
    const parent = isParent(data, children);
    const own = `${data.file}:${data.nesting}`;
    children.set(own, (children.get(own) ?? 0) + 1);
    const failed = type === "test:fail" || data.skip !== undefined || data.todo !== undefined;
    // A file that dies before its tests, and a suite whose hook fails, must not be lost.
    if ((isSuite(data) || parent) && !failed) continue;
    if ((isSuite(data) || parent) && data.details?.error?.failureType === "subtestsFailed") continue;
    const error = data.details?.error;
    yield `${JSON.stringify({
      file: basename(data.file ?? data.name),
      name: data.name,
      passed: !failed,
      seconds: (data.details?.duration_ms ?? 0) / 1000,
      error: failed ? String(error?.cause?.stack ?? error?.stack ?? error ?? "skipped") : null,
    })}\n`;
  }
}
