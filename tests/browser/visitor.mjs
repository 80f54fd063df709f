// A person at a tab: opens a page, reads the widget in its frame, presses its buttons with a real
// mouse or keyboard. Sees what a person sees, and the requests.

import { until, WAIT_MILLIS } from "./until.mjs";

/** A software renderer on a busy machine draws a first picture slowly. */
const PRESS_MILLIS = 30_000;

/** Runs in every document before its own scripts. */
function listenAsHost() {
  const heard = (/** @type {any} */ (window).heardByHost = []);
  for (const name of ["ready", "error", "yes", "no", "start", "stop", "helping", "consent"]) {
    addEventListener(`potluck:${name}`, (event) => heard.push([event.type, /** @type {any} */ (event).detail]), true);
  }
}

export class Visitor {
  /** @param {import("puppeteer-core").Page} page */
  constructor(page) {
    this.page = page;
    /** @type {string[]} */
    this.requests = [];
    /** @type {string[]} */
    this.complaints = [];
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
  }

  /**
   * A visitor with storage of their own.
   * @param {import("puppeteer-core").Browser} browser
   * @param {string} address
   * @param {() => void} [before] runs in every document before its own scripts
   */
  static async arrive(browser, address, before) {
    const context = await browser.createBrowserContext();
    return Visitor.inContext(context, address, before);
  }

  /**
   * Another tab of the same person.
   * @param {import("puppeteer-core").BrowserContext} context
   * @param {string} address
   * @param {() => void} [before]
   */
  static async inContext(context, address, before) {
    const visitor = new Visitor(await context.newPage());
    await visitor.page.setViewport({ width: 900, height: 900 });
    await visitor.page.evaluateOnNewDocument(listenAsHost);
    if (before) await visitor.page.evaluateOnNewDocument(before);
    await visitor.page.goto(address, { waitUntil: "domcontentloaded" });
    return visitor;
  }

  /** The widget's frame; after a reload another one. */
  frame() {
    return until("the widget's frame", () => this.page.frames().find((frame) => /\/widget\//.test(frame.url())));
  }

  /** The widget's scene, as its document names it. */
  async scene() {
    const frame = await this.frame();
    return frame.evaluate(() => document.querySelector("main")?.dataset.scene ?? "");
  }

  /** @param {string[]} scenes @param {number} [millis] */
  async waitForScene(scenes, millis = WAIT_MILLIS) {
    let seen = "";
    try {
      return await until(`the widget to say ${scenes.join(" or ")}`, async () => {
        seen = await this.scene();
        return scenes.includes(seen) && seen;
      }, millis);
    } catch (error) {
      throw new Error(`${/** @type {Error} */ (error).message}; it says ${seen}: ${await this.text()}`);
    }
  }

  /** Everything that can be read in the widget. */
  async text() {
    const frame = await this.frame();
    return frame.evaluate(() => document.body.innerText.replace(/\s+/g, " ").trim());
  }

  /** @param {"gave" | "device"} name */
  async fact(name) {
    const frame = await this.frame();
    return frame.evaluate((fact) => document.querySelector(`[data-fact=${fact}]`)?.textContent ?? "", name);
  }

  /** A press with the mouse. @param {string} action value of `data-action` */
  async press(action) {
    const frame = await this.frame();
    const button = await frame.waitForSelector(`[data-action=${action}]`, { visible: true, timeout: PRESS_MILLIS });
    await button?.click();
  }

  /** Says yes, as somebody who presses again when nothing happened: too quick a yes does not count. */
  async sayYes() {
    await this.waitForScene(["asking", "stopped"]);
    await until("the yes to count", async () => {
      const asking = ["asking", "stopped"].includes(await this.scene());
      if (asking) await this.press((await this.scene()) === "asking" ? "yes" : "again");
      return !asking;
    });
  }

  /** Folds or unfolds a card in a corner, which moves under the pointer. @param {boolean} folded */
  async fold(folded) {
    const frame = await this.frame();
    const expanded = () => frame.$eval("[data-action=fold]", (button) => button.getAttribute("aria-expanded"));
    await until(folded ? "the card to fold" : "the card to unfold", async () => {
      if ((await expanded()) === String(!folded)) return true;
      await this.press("fold");
      return false;
    });
  }

  /** A press in the middle of the element, whatever it shows. */
  async pressElement() {
    const element = await this.page.waitForSelector("potluck-widget");
    await element?.click();
  }

  /** With the keyboard alone: the whole device may be used. */
  async giveEverything() {
    const frame = await this.frame();
    const slider = await frame.waitForSelector("#share", { visible: true, timeout: PRESS_MILLIS });
    await slider?.focus();
    await slider?.press("End");
  }

  /** What a script of the host page can learn: every event of the element. */
  heardByHost() {
    return this.page.evaluate(() => /** @type {any} */ (window).heardByHost ?? []);
  }

  /** Addresses that the widget's frame fetched, by the browser's own account. */
  async fetchedByFrame() {
    const frame = await this.frame();
    return frame.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name));
  }

  /** Size of the element in the host page. */
  size() {
    return this.page.evaluate(() => {
      const box = document.querySelector("potluck-widget")?.getBoundingClientRect();
      return box ? `${box.width} x ${box.height}` : "none";
    });
  }

  async leave() {
    await this.page.browserContext().close();
  }
}
