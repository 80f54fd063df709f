// Runs axe-core inside a page or frame and returns what is wrong, in one line each.

import { readFile } from "node:fs/promises";
import { axePath } from "./project.mjs";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** @param {import("puppeteer-core").Page | import("puppeteer-core").Frame} where */
export async function violations(where) {
  // Evaluated by the driver, so that the page's own policy stays in force.
  await where.evaluate(await readFile(axePath(), "utf8"));
  const found = await where.evaluate(async (rules) => {
    const { violations } = await /** @type {any} */ (window).axe.run(document, { runOnly: rules, iframes: false });
    return violations.map((/** @type {any} */ one) => ({
      impact: one.impact,
      line: `${one.impact} ${one.id}: ${one.help}; ${one.nodes.map((/** @type {any} */ node) => node.target).join(", ")}`,
    }));
  }, RULES);
  return found.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => one.line);
}
