// What a browser suite works with: one browser process of each kind, and for every test a fresh
// coordinator with a host site beside it.

import { launch } from "./browsers.mjs";
import { Coordinator, digitsJob } from "./coordinator.mjs";
import { HostSite } from "./host.mjs";
import { at } from "./project.mjs";
import { Visitor } from "./visitor.mjs";

/** Browsers of one suite, started when the first test needs them. */
export class Lab {
  /** @param {import("./browsers.mjs").BrowserName} name */
  constructor(name) {
    this.name = name;
    /** @type {Map<boolean, Promise<import("puppeteer-core").Browser>>} */
    this.browsers = new Map();
    this.stages = 0;
  }

  /** @param {boolean} [webgpu] */
  browser(webgpu = true) {
    const started = this.browsers.get(webgpu) ?? launch(this.name, { webgpu });
    this.browsers.set(webgpu, started);
    return started;
  }

  /** A browser that a test may kill. */
  another() {
    return launch(this.name);
  }

  /** @param {Record<string, string | number>} [train] keys of `[train]` to change */
  async stage(train = {}) {
    this.stages += 1;
    const folder = at("target/e2e", `${this.name}-${this.stages}`);
    const job = await digitsJob(`${folder}-job`, train);
    const coordinator = await Coordinator.fresh(job, folder);
    return new Stage(coordinator, await HostSite.start(coordinator.origin));
  }

  async close() {
    for (const started of this.browsers.values()) await started.then((browser) => browser.close());
  }
}

/** One coordinator, one host site, and the visitors that a test sends there. */
export class Stage {
  /** @param {Coordinator} coordinator @param {HostSite} host */
  constructor(coordinator, host) {
    this.coordinator = coordinator;
    this.host = host;
    /** @type {Visitor[]} */
    this.visitors = [];
  }

  /**
   * A visitor on the host's page.
   * @param {import("puppeteer-core").Browser} browser
   * @param {import("./host.mjs").Embed} [embed]
   * @param {() => void} [before] runs in every document before its own scripts
   */
  async visitor(browser, embed = {}, before = undefined) {
    const visitor = await Visitor.arrive(browser, this.host.address(embed), before);
    this.visitors.push(visitor);
    return visitor;
  }

  /** The keys of tabs that are connected. @returns {Promise<Record<string, any>[]>} */
  async tabs() {
    const { connected } = await this.coordinator.status();
    return connected.filter((one) => !one.trusted);
  }

  /** Rows of the tally that tabs earned. */
  async tally() {
    const rows = await this.coordinator.contributions();
    return rows.filter((row) => row.backend === "webgpu" || row.backend === "wasm");
  }

  async close() {
    // A visitor whose browser was killed has left already.
    for (const visitor of this.visitors) await visitor.leave().catch(() => {});
    await this.host.stop();
    await this.coordinator.stop();
  }
}
