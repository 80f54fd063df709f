// One tab of a crowd: comes with a browser of its own, is closed or killed without a word, and
// comes back. When it does so is not its business.

import { launch } from "./browsers.mjs";
import { until } from "./until.mjs";
import { Visitor } from "./visitor.mjs";

/** @typedef {{ browser: import("./browsers.mjs").BrowserName, backend: "webgpu" | "cpu", share: number }} TabKind */

const AT_WORK = ["helping", "waiting"];

export class Tab {
  /** @param {TabKind} kind @param {import("./host.mjs").HostSite} host @param {string} job */
  constructor(kind, host, job) {
    this.kind = kind;
    this.address = host.address({ job, attributes: { "data-backend": kind.backend, "data-share-max": `${kind.share}` } });
    /** @type {import("puppeteer-core").Browser | null} */
    this.browser = null;
    /** @type {import("puppeteer-core").BrowserContext | null} */
    this.context = null;
    /** @type {Visitor | null} */
    this.visitor = null;
    this.saidYes = false;
  }

  /** True from a yes on, while there is a page. */
  get helps() {
    return this.saidYes && this.visitor !== null;
  }

  get name() {
    const { browser, backend, share } = this.kind;
    return `${browser} ${backend} ${100 * share} %`;
  }

  /** Somebody new, with a browser of their own, who has not been asked yet. */
  async arrive() {
    this.browser = await launch(this.kind.browser);
    this.context = await this.browser.createBrowserContext();
    this.visitor = await Visitor.inContext(this.context, this.address);
    await this.visitor.waitForScene(["asking"]);
  }

  /** Says yes and gives as much as the page allows. */
  async come() {
    await this.visitor?.sayYes();
    await this.visitor?.waitForScene(AT_WORK);
    await this.visitor?.giveEverything();
    this.saidYes = true;
  }

  /** The whole browser, as a crash would; what it had stored is gone. */
  kill() {
    this.browser?.process()?.kill("SIGKILL");
    this.browser = this.context = this.visitor = null;
  }

  /** Waits for its next credit: from then on it has a version of now. @param {number} millis at most */
  async credited(millis) {
    const gave = () => this.visitor?.fact("gave");
    const before = await gave();
    await until(`a credit of ${this.name}`, async () => (await gave()) !== before, millis);
  }

  /** The page, in the middle of whatever it does; what it had stored stays. */
  async vanish() {
    await this.visitor?.page.close();
    this.visitor = null;
  }

  /** The same person again, whose yes still holds. */
  async comeBack() {
    if (!this.context) throw new Error(`${this.name} was killed or never came`);
    this.visitor = await Visitor.inContext(this.context, this.address);
    await this.visitor.waitForScene(AT_WORK);
  }

  async leave() {
    await this.browser?.close();
  }
}
