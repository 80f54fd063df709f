// Joins consent, worker, governor and view. The only place that decides when work begins and ends:
// after a yes that still holds, and until the visitor, the clock or the job says otherwise.

import { Api, ApiError } from "../common/api.ts";
import { ConsentStore, isYes, sceneWithout, standing, yesLeft, type Consent } from "./consent.ts";
import type { StartOptions, VolunteerEvent } from "./events.ts";
import { govern, holder, SHARE_MIN, SHARE_START, type Signals } from "./governor.ts";
import { Helper } from "./helper.ts";
import { ensureIdentity } from "./identity.ts";
import { initialModel, isActive, next, type Happening, type Model, type Reason, type Scene } from "./model.ts";
import type { Parameters } from "./parameters.ts";
import type { Storage } from "./storage.ts";
import type { Actions } from "./view.ts";
import { wasmBuild } from "./variant.ts";

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
  /** Why nothing may run at present, as it was last obeyed. */
  #held: Reason | null = null;
  #suspended = false;
  #suspending: Promise<void> = Promise.resolve();
  /** Counts starts and ends: a start that was overtaken while it waited must not go on. */
  #turn = 0;
  #shownAt = 0;
  #settling = 0;
  #hiding = 0;
  #lapsing = 0;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#consent = new ConsentStore(around.storage, around.parameters.job, () => void this.#follow());
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
    const scene = sceneWithout(await this.#standing());
    if (scene === "declined") return this.#scene(scene);
    if (!(await this.#load())) return;
    if (scene) return this.#scene(scene);
    await this.#begin();
  }

  async yes(click: Event): Promise<void> {
    if (!(await isYes(click, this.#shownAt)) || isActive(this.#model.scene)) return;
    this.#resting = null;
    this.#hold();
    await this.#consent.write("yes", Date.now());
    await this.#begin();
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
    // First, since a start reads whether the yes rests.
    void this.#consent.rest(false);
    this.#hold();
  }

  async stop(): Promise<void> {
    if (!this.#isOn()) return;
    // The tab that gets the lock next reads this first.
    await this.#quit("stopped", this.#consent.write("stopped", Date.now()));
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
    if (signals.hidden) this.#hiding = setTimeout(() => this.#suspend(), HIDDEN_MILLIS);
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

  /** Starts work, now or once nothing holds it back, where a yes stands. */
  async #begin(): Promise<void> {
    const turn = ++this.#turn;
    this.#scene(this.#held ? "paused" : "waiting", this.#held ?? "connecting");
    const consent = await this.#confirm(turn);
    if (!consent) return;
    clearTimeout(this.#lapsing);
    this.#lapsing = setTimeout(() => void this.#lapse(), yesLeft(consent, Date.now()));
    if (!this.#held) await this.#helper.begin();
  }

  /** The yes if it stands now; without one this turn is over. */
  async #confirm(turn: number): Promise<Consent | null> {
    const consent = await this.#standing();
    if (turn !== this.#turn) return null;
    const scene = sceneWithout(consent);
    if (scene) {
      await this.#quit(scene);
      return null;
    }
    if (consent?.paused) this.#rest("visitor");
    return consent;
  }

  async #standing(): Promise<Consent | null> {
    return standing(await this.#consent.read(), Date.now());
  }

  /** A yes that was taken back in another tab ends the work in this one; a yes there starts nothing here. */
  async #follow(): Promise<void> {
    const scene = sceneWithout(await this.#standing());
    if (scene && this.#isOn()) await this.#quit(scene);
  }

  async #end(kept?: Promise<void>): Promise<void> {
    this.#turn += 1;
    clearTimeout(this.#lapsing);
    this.#suspended = false;
    await this.#helper.stop(kept);
  }

  async #quit(scene: Scene, kept?: Promise<void>): Promise<void> {
    this.#scene("stopping");
    await this.#end(kept);
    this.#scene(scene);
  }

  async #lapse(): Promise<void> {
    if (this.#isOn()) await this.#quit("asking");
  }

  #suspend(): void {
    if (!this.#helper.running) return;
    this.#suspended = true;
    this.#scene("waiting", "hidden");
    this.#suspending = this.#helper.stop();
  }

  async #wake(): Promise<void> {
    await this.#suspending;
    // Hidden again, stopped, or over: whoever came in between has said what is shown.
    if (!this.#suspended || this.#signals.hidden || !this.#isOn()) return;
    this.#suspended = false;
    await this.#begin();
  }

  #isOn(): boolean {
    return isActive(this.#model.scene) && this.#model.scene !== "stopping";
  }

  #rest(reason: Reason): void {
    this.#resting ??= reason;
    this.#hold();
  }

  /** Rests and goes on as the visitor, the page and the governor say together. */
  #hold(): void {
    const { shareNow, limiter } = this.#model;
    const held = this.#resting ?? holder({ share: shareNow, limiter });
    if (held === this.#held) return;
    this.#held = held;
    if (!this.#isOn()) return;
    if (held) {
      this.#helper.pause();
      this.#scene("paused", held);
    } else if (this.#suspended) this.#scene("waiting", "hidden");
    else if (this.#helper.hasWorker) this.#helper.resume();
    else void this.#begin();
  }

  #hear(event: VolunteerEvent): void {
    // The worker knows that it rests, not why.
    if (event.type === "paused" && this.#held) return this.#scene("paused", this.#held);
    this.#tell({ happened: "volunteer", event });
  }

  /** Asked for once the lock is ours: the wait may have outlasted the yes. */
  async #startOptions(): Promise<StartOptions | null> {
    const { api, storage, parameters, agent } = this.#around;
    const keyPair = await ensureIdentity(storage);
    if (!(await this.#confirm(this.#turn))) return null;
    this.#tell({ happened: "storage", lasting: storage.lasting });
    return {
      url: api.root.href,
      job: parameters.job,
      backend: parameters.backend,
      share: this.#model.shareNow,
      agent,
      build: wasmBuild().build,
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
    // A share of nothing is told as a pause, which hands the lease in.
    if (!holder(governed)) this.#helper.setShare(governed.share);
    this.#tell({ happened: "share", share, shareMax, shareNow: governed.share, limiter: governed.limiter });
    this.#hold();
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
