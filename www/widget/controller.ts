// Joins consent, worker, governor and view. The only place that decides when work begins and ends:
// after a yes that still holds, and until the visitor, the clock or the job says otherwise.

import { Api, ApiError } from "../common/api.ts";
import { ConsentStore, isYes, standing, yesLeft } from "./consent.ts";
import type { StartOptions, VolunteerEvent } from "./events.ts";
import { govern, SHARE_MIN, SHARE_START, type Signals } from "./governor.ts";
import { Helper } from "./helper.ts";
import { ensureIdentity } from "./identity.ts";
import { initialModel, isActive, next, type Happening, type Model, type Reason, type Scene } from "./model.ts";
import type { Parameters } from "./parameters.ts";
import type { Storage } from "./storage.ts";
import type { Actions } from "./view.ts";

/** A frozen background tab must not keep the lock from its neighbours. */
const HIDDEN_MILLIS = 5 * 60_000;

/** Rounds end many times a minute; a wait is shown once it lasts. */
const SETTLE_MILLIS = 800;

const SHARE_KEY = "share";

export interface Surroundings {
  api: Api;
  storage: Storage;
  parameters: Parameters;
  agent: string;
  makeWorker: () => Worker;
  draw: (model: Model) => void;
}

export class Controller implements Omit<Actions, "fold"> {
  #around: Surroundings;
  #model = initialModel(SHARE_START);
  #drawn: Scene = "loading";
  #consent: ConsentStore;
  #helper: Helper;
  #signals: Signals = { hidden: false, charging: null, mobile: false, saveData: false };
  #resting: Reason | null = null;
  #suspended = false;
  #shownAt = 0;
  #settling = 0;
  #hiding = 0;
  #lapsing = 0;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#consent = new ConsentStore(around.storage, around.parameters.job);
    this.#helper = new Helper(around.makeWorker, () => this.#startOptions(), {
      elsewhere: () => this.#scene("waiting", "elsewhere"),
      volunteer: (event) => this.#hear(event),
    });
  }

  /** Shows where the visitor stands; goes on helping only where an earlier yes still holds. */
  async open(): Promise<void> {
    const { storage, parameters } = this.#around;
    const share = Number((await storage.get(SHARE_KEY)) ?? SHARE_START);
    this.#setShare(share, parameters.shareMax);
    this.#tell({ happened: "storage", lasting: storage.lasting });
    const consent = standing(await this.#consent.read(), Date.now());
    if (consent?.choice === "no") return this.#scene("declined");
    if (!(await this.#load())) return;
    if (consent?.choice === "stopped") return this.#scene("stopped");
    if (consent?.choice !== "yes") return this.#scene("asking");
    if (consent.paused) this.#resting ??= "visitor";
    await this.#begin(yesLeft(consent, Date.now()));
  }

  async yes(click: Event): Promise<void> {
    if (!(await isYes(click, this.#shownAt)) || isActive(this.#model.scene)) return;
    this.#resting = null;
    const now = Date.now();
    await this.#consent.write("yes", now);
    await this.#begin(yesLeft({ choice: "yes", at: now, paused: false }, now));
  }

  /** The buttons of a yes appeared or moved. */
  shown(): void {
    this.#shownAt = performance.now();
  }

  no(): void {
    void this.#consent.write("no", Date.now());
    this.#scene("declined");
  }

  async askAgain(): Promise<void> {
    if (this.#model.card || (await this.#load())) this.#scene("asking");
  }

  pause(): void {
    this.#rest("visitor");
    void this.#consent.rest(true);
  }

  /** The host's wish: only the visitor ends it, and the visitor's own choice is left as it was. */
  pauseForPage(): void {
    this.#rest("page");
  }

  resume(): void {
    this.#resting = null;
    void this.#consent.rest(false);
    this.#helper.resume();
    if (!this.#helper.hasWorker) this.#scene("waiting", "elsewhere");
  }

  async stop(): Promise<void> {
    if (!isActive(this.#model.scene) || this.#model.scene === "stopping") return;
    void this.#consent.write("stopped", Date.now());
    this.#scene("stopping");
    await this.#end();
    this.#scene("stopped");
  }

  share(share: number): void {
    void this.#around.storage.set(SHARE_KEY, share);
    this.#setShare(share, this.#model.shareMax);
  }

  limit(shareMax: number): void {
    if (shareMax >= 0 && shareMax < this.#model.shareMax) this.#setShare(this.#model.share, shareMax);
  }

  reload(): void {
    location.reload();
  }

  /** The host removes the element: what is done is handed in, the consent stays. */
  leave(): Promise<void> {
    return this.#end();
  }

  signals(signals: Signals): void {
    const turned = signals.hidden !== this.#signals.hidden;
    this.#signals = signals;
    this.#govern();
    if (!turned) return;
    clearTimeout(this.#hiding);
    if (signals.hidden) this.#hiding = setTimeout(() => void this.#suspend(), HIDDEN_MILLIS);
    else if (this.#suspended) void this.#wake();
  }

  async #load(): Promise<boolean> {
    const { api, parameters } = this.#around;
    try {
      const status = await api.job(parameters.job);
      this.#tell({ happened: "job", status });
      if (status.phase !== "finished") return true;
      this.#scene("finished");
    } catch (error) {
      this.#scene("failed", undefined, error instanceof ApiError ? error.message : String(error));
    }
    return false;
  }

  async #begin(leftMillis: number): Promise<void> {
    clearTimeout(this.#lapsing);
    this.#lapsing = setTimeout(() => void this.#lapse(), leftMillis);
    this.#scene("waiting", "connecting");
    await this.#helper.begin();
    if (this.#resting) this.#helper.pause();
  }

  async #end(): Promise<void> {
    clearTimeout(this.#lapsing);
    this.#suspended = false;
    await this.#helper.stop();
  }

  async #lapse(): Promise<void> {
    await this.#end();
    this.#scene("asking");
  }

  async #suspend(): Promise<void> {
    if (!this.#helper.running) return;
    this.#suspended = true;
    this.#scene("waiting", "hidden");
    await this.#helper.stop();
  }

  async #wake(): Promise<void> {
    this.#suspended = false;
    this.#scene("waiting", "connecting");
    await this.#helper.begin();
    if (this.#resting) this.#helper.pause();
  }

  #rest(reason: Reason): void {
    this.#resting = reason;
    this.#helper.pause();
    if (isActive(this.#model.scene) && this.#model.scene !== "stopping") this.#scene("paused", reason);
  }

  #hear(event: VolunteerEvent): void {
    this.#tell({ happened: "volunteer", event });
  }

  async #startOptions(): Promise<StartOptions> {
    const { api, storage, parameters, agent } = this.#around;
    const keyPair = await ensureIdentity(storage);
    this.#tell({ happened: "storage", lasting: storage.lasting });
    return {
      url: api.root.href,
      job: parameters.job,
      backend: parameters.backend,
      share: this.#model.shareNow,
      agent,
      build: POTLUCK_FILES.build,
      ...(keyPair ? { keyPair } : {}),
    };
  }

  #setShare(share: number, shareMax: number): void {
    const good = Number.isFinite(share) ? Math.min(1, Math.max(SHARE_MIN, share)) : SHARE_START;
    this.#model = { ...this.#model, share: good, shareMax };
    this.#govern();
  }

  #govern(): void {
    const { share, shareMax } = this.#model;
    const governed = govern(share, shareMax, this.#signals);
    this.#helper.setShare(governed.share);
    this.#tell({ happened: "share", share, shareMax, shareNow: governed.share, limiter: governed.limiter });
  }

  #scene(scene: Scene, reason?: Reason, detail?: string): void {
    this.#tell({ happened: "scene", scene, ...(reason ? { reason } : {}), ...(detail ? { detail } : {}) });
  }

  #tell(happening: Happening): void {
    this.#model = next(this.#model, happening);
    const { scene, reason } = this.#model;
    const brief = scene === "waiting" && (reason === "round" || reason === "busy");
    if (!brief) {
      clearTimeout(this.#settling);
      this.#settling = 0;
      return this.#draw(this.#model);
    }
    if (this.#drawn !== "helping") return this.#draw(this.#model);
    this.#settling ||= setTimeout(() => this.#draw(this.#model), SETTLE_MILLIS);
    this.#around.draw({ ...this.#model, scene: "helping", reason: null });
  }

  #draw(model: Model): void {
    this.#settling = 0;
    if (this.#drawn !== model.scene) this.shown();
    this.#drawn = model.scene;
    this.#around.draw(model);
  }
}
