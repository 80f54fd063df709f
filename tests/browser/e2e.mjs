// From a visitor's yes to a finished model, in a real browser, over two sites. One suite for both
// browsers; e2e.chromium.test.mjs and e2e.firefox.test.mjs name them.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { violations } from "./accessibility.mjs";
import { HostSite } from "./host.mjs";
import { Lab } from "./lab.mjs";
import { Line } from "./line.mjs";
import { until } from "./until.mjs";
import { Visitor } from "./visitor.mjs";

/** One test trains a few seconds; the rest is a busy machine. */
const TEST_MILLIS = 240_000;

/** Twelve tasks of 8 x 32 samples: long enough to be interrupted. */
const SHORT = { budget_samples: 12 * 256 };
/** More than any test will do. */
const LONG = { budget_samples: 1_000_000 };

const FORCED_WEBGPU = { attributes: { "data-backend": "webgpu" } };
const WORKING = ["helping", "waiting"];

/** @param {import("./browsers.mjs").BrowserName} name */
export function e2eSuite(name) {
  const lab = new Lab(name);
  const called = name === "chromium" ? "Chromium" : "Firefox";
  after(() => lab.close());

  /** @param {string} what @param {Record<string, number>} train @param {(stage: import("./lab.mjs").Stage) => Promise<void>} body */
  const check = (what, train, body) =>
    test(`${called}: ${what}`, { timeout: TEST_MILLIS }, async () => {
      const stage = await lab.stage(train);
      try {
        await body(stage);
      } catch (error) {
        // What the coordinator said is half of the story of a failed visit.
        console.log(stage.coordinator.output.join("\n"));
        throw error;
      } finally {
        await stage.close();
      }
    });

  check("a visitor on another site says yes, helps with WebGPU, is credited, pauses and stops", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(), FORCED_WEBGPU);
    await visitor.waitForScene(["asking"]);
    const [size, heard] = [await visitor.size(), await visitor.heardByHost()];
    await visitor.sayYes();
    await visitor.waitForScene(["helping"]);
    await visitor.giveEverything();
    const row = await until("two credited tasks", async () => (await stage.tally()).find((one) => one.tasks >= 2));
    assert.equal(row.backend, "webgpu");
    assert.ok(row.samples >= 2 * 4 * 32, `${row.samples} samples`);
    const [tab] = await stage.tabs();
    assert.ok(tab?.forced, "a forced backend is reported as forced");
    assert.match(await visitor.fact("device"), /WebGPU.*\(forced\)/);
    await until("the widget to show the credit", async () => /\d+ tasks/.test(await visitor.fact("gave")));

    await visitor.press("pause");
    await visitor.waitForScene(["paused"]);
    await visitor.press("pause");
    await visitor.waitForScene(["helping"]);
    await visitor.press("stop");
    await visitor.waitForScene(["stopped"]);
    await until("the tab's connection to end", async () => (await stage.tabs()).length === 0);
    assert.equal(await visitor.size(), size, "the element's size tells the host nothing");
    assert.deepEqual(await visitor.heardByHost(), heard, "events tell the host nothing");
    assert.deepEqual(heard.map(([type]) => type), ["potluck:ready"]);
  });

  check("without WebGPU a visitor helps with wasm, unasked for", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(false));
    await visitor.sayYes();
    await visitor.waitForScene(WORKING);
    const row = await until("a credited task", async () => (await stage.tally()).find((one) => one.tasks >= 1));
    assert.equal(row.backend, "wasm");
    const [tab] = await stage.tabs();
    assert.equal(tab?.forced, false);
    assert.match(await visitor.fact("device"), /wasm SIMD/);
  });

  check("before a yes nothing heavy is fetched, and nobody is connected", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser());
    await visitor.waitForScene(["asking"]);
    const fetched = [...(await visitor.fetchedByFrame()), ...visitor.requests];
    assert.ok(fetched.length >= 4, fetched.join("\n"));
    const heavy = fetched.filter((address) => /\.wasm|worker|potluck_browser|blobs|program/.test(address));
    assert.deepEqual(heavy, []);
    assert.deepEqual(await stage.tabs(), []);
  });

  check("with data-load=click no request reaches the coordinator before a click", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(), { attributes: { "data-load": "click" } });
    await until("the still question", async () => (await visitor.size()) !== "none");
    const asked = visitor.requests.filter((address) => address.startsWith(stage.coordinator.origin));
    assert.deepEqual(asked, [`${stage.coordinator.origin}/embed.js`]);
    await visitor.pressElement();
    await visitor.waitForScene(["asking"]);
  });

  check("a no runs nothing, is remembered, and can be taken back", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser());
    await visitor.press("no");
    await visitor.waitForScene(["declined"]);
    await visitor.page.reload({ waitUntil: "domcontentloaded" });
    await visitor.waitForScene(["declined"]);
    assert.deepEqual(await stage.tabs(), []);
    assert.deepEqual((await visitor.heardByHost()).map(([type]) => type), ["potluck:ready"]);
    await visitor.press("back");
    await visitor.waitForScene(["asking"]);
  });

  check("where storage is forbidden a key of the session helps, and the widget says so", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(), FORCED_WEBGPU, forbidStorage);
    await visitor.sayYes();
    await visitor.waitForScene(["helping"]);
    await until("a credited task", async () => (await stage.tally()).some((one) => one.tasks >= 1));
    await until("the widget to say it", async () => /keeps nothing/.test(await visitor.text()));
  });

  check("a yes holds on the next page, in one tab at a time", LONG, async (stage) => {
    const browser = await lab.browser();
    const first = await stage.visitor(browser, FORCED_WEBGPU);
    await first.sayYes();
    await first.waitForScene(["helping"]);
    const second = await Visitor.inContext(first.page.browserContext(), stage.host.address(FORCED_WEBGPU));
    await second.waitForScene(["waiting"]);
    await until("the second tab to say why", async () => /another tab/.test(await second.text()));
    assert.equal((await stage.tabs()).length, 1);
    await first.page.close();
    await second.waitForScene(["helping"]);
  });

  check("a broken download goes on where it broke", LONG, async (stage) => {
    const { program } = await stage.coordinator.status();
    const whole = 4 * program.parameters;
    const line = await Line.to(stage.coordinator.port);
    const host = await HostSite.start(line.origin);
    const visitor = await Visitor.arrive(await lab.browser(), host.address(FORCED_WEBGPU));
    try {
      line.breakAt = whole;
      await visitor.sayYes();
      await visitor.waitForScene(["helping"]);
      assert.equal(line.breakAt, null, "a whole version was asked for");
      const rest = line.asked.filter((blob) => blob.range !== undefined);
      assert.ok(rest.length >= 1 && rest.every((blob) => blob.bytes < whole), JSON.stringify(rest));
    } finally {
      await visitor.leave();
      await host.stop();
      await line.stop();
    }
  });

  check("a tab that is killed in the middle of a task costs the job nothing", SHORT, async (stage) => {
    const victims = await lab.another();
    const victim = await stage.visitor(victims, FORCED_WEBGPU);
    await victim.sayYes();
    await victim.waitForScene(["helping"]);
    victims.process()?.kill("SIGKILL");
    const other = await stage.visitor(await lab.browser(), FORCED_WEBGPU);
    await other.sayYes();
    await other.waitForScene(WORKING);
    await other.giveEverything();
    await finished(stage);
    await other.waitForScene(["finished"]);
  });

  check("a coordinator that is killed and restarted loses no acknowledged result", SHORT, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(), FORCED_WEBGPU);
    await visitor.sayYes();
    await visitor.waitForScene(["helping"]);
    await visitor.giveEverything();
    await until("two acknowledged tasks", async () => tasksShown(await visitor.fact("gave")) >= 2);
    const [{ volunteer }] = await stage.tally();
    const tasksOf = async () =>
      (await stage.coordinator.contributions()).find((row) => row.volunteer === volunteer)?.tasks ?? 0;
    await stage.coordinator.kill();
    const acknowledged = tasksShown(await visitor.fact("gave"));
    await visitor.waitForScene(["offline"]);
    await stage.coordinator.start();
    const kept = await tasksOf();
    assert.ok(kept >= acknowledged, `${kept} tasks are kept of ${acknowledged} acknowledged`);
    await finished(stage);
    await visitor.waitForScene(["finished"]);
    assert.ok((await tasksOf()) > acknowledged, "the same tab went on after the restart");
  });

  check("a host page with a strict policy shows the widget in its corner, without a complaint", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(), { strict: true, attributes: { "data-placement": "corner" } });
    await visitor.waitForScene(["asking"]);
    assert.deepEqual(visitor.complaints, []);
    const size = await visitor.size();
    await visitor.fold(true);
    await until("the element to fold", async () => (await visitor.size()) !== size);
    await visitor.fold(false);
    await until("the element to unfold", async () => (await visitor.size()) === size);
    assert.deepEqual((await visitor.heardByHost()).map(([type]) => type), ["potluck:ready"]);
  });

  check("the widget works with the keyboard alone, and has no serious accessibility fault", LONG, async (stage) => {
    const visitor = await stage.visitor(await lab.browser(), FORCED_WEBGPU);
    await visitor.waitForScene(["asking"]);
    const frame = await visitor.frame();
    assert.deepEqual(await violations(frame), []);
    const yes = await frame.waitForSelector("[data-action=yes]", { visible: true });
    await yes?.focus();
    // Too quick a yes does not count.
    await until("the yes to count", async () => {
      if ((await visitor.scene()) !== "asking") return true;
      await yes?.press("Enter");
      return false;
    });
    await visitor.waitForScene(["helping"]);
    assert.deepEqual(await violations(frame), []);
    const stop = await frame.waitForSelector("[data-action=stop]", { visible: true });
    await stop?.focus();
    await stop?.press("Enter");
    await visitor.waitForScene(["stopped"]);
    assert.deepEqual(await violations(frame), []);
    const focused = await frame.evaluate(() => document.activeElement?.tagName);
    assert.equal(focused, "H1", "the focus follows to the new picture");
  });

  check("the dashboard follows a job, and has no serious accessibility fault", LONG, async (stage) => {
    const browser = await lab.browser();
    const visitor = await stage.visitor(browser, FORCED_WEBGPU);
    await visitor.sayYes();
    await visitor.waitForScene(["helping"]);
    const context = await browser.createBrowserContext();
    try {
      const page = await context.newPage();
      await page.goto(`${stage.coordinator.origin}/`, { waitUntil: "domcontentloaded" });
      await page.waitForSelector(".uplot canvas");
      await page.waitForFunction(() => /WebGPU.*forced/.test(document.body.innerText.replace(/\s+/g, " ")));
      const before = await page.evaluate(() => document.querySelector("[role=progressbar]")?.getAttribute("aria-valuenow"));
      assert.notEqual(before, null);
      await page.waitForFunction(() => document.querySelectorAll("section:nth-of-type(2) tbody tr").length > 0);
      for (const value of ["light", "dark"]) {
        if (name === "chromium") await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
        assert.deepEqual(await violations(page), []);
      }
    } finally {
      await context.close();
    }
  });
}

/** As browsers that block third-party storage do it. */
function forbidStorage() {
  const forbidden = () => {
    throw new DOMException("forbidden by a test", "SecurityError");
  };
  Object.defineProperty(window, "indexedDB", { get: forbidden });
  navigator.locks.request = () => Promise.reject(new DOMException("forbidden by a test", "SecurityError"));
}

/** @param {string} gave what the widget shows, such as `2 tasks · 512 samples` */
function tasksShown(gave) {
  return Number(/^([\d,]+) task/.exec(gave)?.[1]?.replaceAll(",", "") ?? 0);
}

/** @param {import("./lab.mjs").Stage} stage */
async function finished(stage) {
  const done = (status) => status.phase === "finished" && status;
  const status = await until("the job to finish", async () => done(await stage.coordinator.status()), TEST_MILLIS / 2);
  assert.ok(status.samples >= status.budget_samples, `${status.samples} of ${status.budget_samples} samples`);
}
