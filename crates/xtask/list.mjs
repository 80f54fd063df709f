// Lists the tests of one file without running any: `node --import ./list.mjs FILE`. Stands in for
// `node:test`, takes down the name of every test, and calls neither tests nor hooks.
//
// Node's runner cannot list: a name pattern that matches nothing reports the tests as skipped in
// Node 20 and not at all in Node 22.
import { register } from "node:module";
import { basename } from "node:path";

const resolve = `export const resolve = (name, context, next) =>
  name === "node:test" ? { url: ${JSON.stringify(import.meta.url)}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(resolve)}`);

const file = basename(process.argv[1] ?? "");

export const test = (name) => {
  process.stdout.write(`${JSON.stringify({ file, name, passed: true, seconds: 0, error: null })}\n`);
};
export const it = test;

/** `describe(name, options?, body)`: the body only registers, so it is called. */
export const describe = (...words) => words.find((word) => typeof word === "function")?.();
export const suite = describe;

const nothing = () => {};
export const before = nothing;
export const after = nothing;
export const beforeEach = nothing;
export const afterEach = nothing;

export default Object.assign(test, { test, it, describe, suite, before, after, beforeEach, afterEach });
