// Runs the worker: one per browser and site, started, lowered, rested and ended here. Knows neither
// the DOM nor consent: whoever calls `begin` has asked, and is asked again after every wait.

import { isNote, type StartOptions, type VolunteerEvent, type WorkerCommand, type WorkerReport } from "./events.ts";

/** Held while this tab's worker lives; partitioned by site like everything else we store. */
const LOCK = "potluck-worker";

/** How long a worker may take to hand in what it has before it is ended anyway. */
const DRAIN_MILLIS = 2_000;

export interface HelperEvents {
  /** Another tab of this site helps; ours starts when that one ends. */
  elsewhere(): void;
  volunteer(event: VolunteerEvent): void;
}

export class Helper {
  #events: HelperEvents;
  #options: () => Promise<StartOptions | null>;
  #makeWorker: () => Worker;
  #worker: Worker | null = null;
  #release: (() => void) | null = null;
  #waiting: AbortController | null = null;
  #drained: (() => void) | null = null;
  #stopping: Promise<void> | null = null;
  /** What has to be kept before another tab may have the lock. */
  #kept: Promise<unknown> = Promise.resolve();
  #share: number | null = null;

  /** `options` are asked for at the last moment before a start, which `null` forbids. */
  constructor(makeWorker: () => Worker, options: () => Promise<StartOptions | null>, events: HelperEvents) {
    this.#makeWorker = makeWorker;
    this.#options = options;
    this.#events = events;
  }

  get running(): boolean {
    return this.#worker !== null || this.#waiting !== null;
  }

  get hasWorker(): boolean {
    return this.#worker !== null;
  }

  /** Starts the worker, now or once no other tab of this site has one. */
  async begin(): Promise<void> {
    if (this.#waiting || (this.#worker && !this.#stopping)) return;
    const waiting = (this.#waiting = new AbortController());
    // The last worker of this tab still hands in, and its end would end ours.
    await this.#stopping;
    if (this.#waiting !== waiting) return;
    let release = await takeLock({ ifAvailable: true });
    if (!release && this.#waiting === waiting) {
      this.#events.elsewhere();
      release = await takeLock({ signal: waiting.signal });
    }
    const options = this.#waiting === waiting ? await this.#options() : null;
    // A stop came in between: whoever waits gives back what it took, and nothing else.
    if (this.#waiting !== waiting) return release?.();
    this.#waiting = null;
    if (!options) return release?.();
    this.#release = release;
    this.#start(options);
  }

  /** Rests the worker; a tab without one gives up its place among those that wait for the lock. */
  pause(): void {
    this.#withdraw();
    this.#send({ command: "pause" });
  }

  resume(): void {
    this.#send({ command: "resume" });
  }

  setShare(share: number): void {
    if (this.#share === share) return;
    this.#share = share;
    this.#send({ command: "share", share });
  }

  /** Hands in what is done, ends the worker and, once `kept` is, gives the lock back. */
  async stop(kept?: Promise<unknown>): Promise<void> {
    this.#withdraw();
    if (kept) this.#kept = kept;
    // Two drains of one worker would each wait for the one answer.
    this.#stopping ??= this.#drain().finally(() => (this.#stopping = null));
    await this.#stopping;
  }

  async #drain(): Promise<void> {
    if (this.#worker) {
      const drained = new Promise<void>((resolve) => (this.#drained = resolve)).then(() => this.#kept);
      this.#send({ command: "stop" });
      await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, DRAIN_MILLIS))]);
    }
    this.#end();
  }

  #withdraw(): void {
    this.#waiting?.abort();
    this.#waiting = null;
  }

  #start(options: StartOptions): void {
    this.#share = options.share;
    const worker = (this.#worker = this.#makeWorker());
    worker.onmessage = (message: MessageEvent<WorkerReport>) => this.#hear(message.data);
    worker.onerror = (error) => {
      this.#hear({ event: { type: "crashed", detail: error.message || "the worker could not be loaded" } });
    };
    this.#send({ command: "start", options });
  }

  #hear(report: WorkerReport): void {
    if ("done" in report) return this.#drained?.();
    const { event } = report;
    const last = ["finished", "update_needed", "unsupported", "crashed"].includes(event.type);
    // Whoever called `stop` says where things stand; what the worker was at meanwhile is late.
    if (this.#stopping && !last && !isNote(event)) return;
    if (last) this.#end();
    this.#events.volunteer(event);
  }

  #end(): void {
    this.#worker?.terminate();
    this.#worker = null;
    this.#drained?.();
    this.#drained = null;
    this.#release?.();
    this.#release = null;
  }

  #send(command: WorkerCommand): void {
    this.#worker?.postMessage(command);
  }
}

/** Takes the lock and returns what gives it back; null where it is held or the wait was given up. */
function takeLock(options: LockOptions): Promise<(() => void) | null> {
  const free = (): void => {};
  // Where locks are missing or forbidden every tab may work.
  if (!navigator.locks) return Promise.resolve(free);
  return new Promise((resolve) => {
    navigator.locks
      .request(LOCK, options, (lock) => {
        if (!lock) return resolve(null);
        return new Promise<void>((release) => resolve(release));
      })
      .catch(() => resolve(options.signal?.aborted ? null : free));
  });
}
