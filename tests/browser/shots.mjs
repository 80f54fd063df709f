// Screenshots for the documentation, under fixed names in docs/images/: a real job, trained by a
// real tab while the pictures are taken.

import { mkdir } from "node:fs/promises";
import { launch } from "./browsers.mjs";
import { Coordinator, digitsJob } from "./coordinator.mjs";
import { HostSite } from "./host.mjs";
import { at } from "./project.mjs";
import { until } from "./until.mjs";
import { Visitor } from "./visitor.mjs";

const IMAGES = at("docs/images");
const SCALE = 2;

/** Room around the card, in CSS pixels. */
const MARGIN = 12;

/** Part of the budget at which the widget and then the dashboard are worth a picture. */
const HELPING_SHARE = 0.2;
const DASHBOARD_SHARE = 0.6;

/** @param {Visitor} visitor @param {string} name */
async function widgetShot(visitor, name) {
  const box = await visitor.page.evaluate(() => {
    const { x, y, width, height } = document.querySelector("potluck-widget")?.getBoundingClientRect() ?? new DOMRect();
    return { x: x + scrollX, y: y + scrollY, width, height };
  });
  const clip = {
    x: box.x - MARGIN,
    y: box.y - MARGIN,
    width: box.width + 2 * MARGIN,
    height: box.height + 2 * MARGIN,
  };
  await visitor.page.screenshot({ path: `${IMAGES}/${name}.png`, clip });
  console.log(`docs/images/${name}.png`);
}

/** @param {Coordinator} coordinator @param {number} share */
async function reached(coordinator, share) {
  await until(`${100 * share} % of the budget`, async () => {
    const { samples, budget_samples: budget, phase } = await coordinator.status();
    return samples >= share * budget || phase === "finished";
  }, 300_000);
}

/** @param {import("puppeteer-core").Browser} browser @param {Coordinator} coordinator */
async function dashboardShots(browser, coordinator) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport({ width: 1240, height: 980, deviceScaleFactor: SCALE });
  for (const [value, name] of [["light", "dashboard"], ["dark", "dashboard-dark"]]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
    await page.goto(`${coordinator.origin}/`, { waitUntil: "domcontentloaded" });
    await page.waitForSelector(".uplot canvas");
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length >= 2);
    await page.screenshot({ path: `${IMAGES}/${name}.png`, fullPage: true });
    console.log(`docs/images/${name}.png`);
  }
  await context.close();
}

async function main() {
  await mkdir(IMAGES, { recursive: true });
  const folder = at("target/shots");
  const coordinator = await Coordinator.fresh(await digitsJob(`${folder}-job`), folder);
  const host = await HostSite.start(coordinator.origin);
  const browser = await launch("chromium");
  try {
    const visitor = await Visitor.arrive(browser, host.address({ attributes: { "data-backend": "webgpu", "data-theme": "light" } }));
    await visitor.page.setViewport({ width: 760, height: 1000, deviceScaleFactor: SCALE });
    await visitor.waitForScene(["asking"]);
    await widgetShot(visitor, "widget-asking");
    await visitor.sayYes();
    await reached(coordinator, HELPING_SHARE);
    await visitor.waitForScene(["helping"]);
    await widgetShot(visitor, "widget-helping");
    await visitor.giveEverything();
    await reached(coordinator, DASHBOARD_SHARE);
    await dashboardShots(browser, coordinator);
    await visitor.press("stop");
    await visitor.waitForScene(["stopped"]);
    await widgetShot(visitor, "widget-stopped");
  } finally {
    await browser.close();
    await host.stop();
    await coordinator.stop();
  }
}

await main();
