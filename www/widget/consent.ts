// What the visitor chose, for how long it holds, and what counts as a yes. Nothing else starts work.

import type { Storage } from "./storage.ts";

const HOUR = 3_600_000;

/** A yes is for a day: long enough for a visit with many pages, short enough not to be forgotten. */
const YES_MILLIS = 24 * HOUR;

/** A no is not asked again for a month on this site. */
const NO_MILLIS = 30 * 24 * HOUR;

export type Choice = "yes" | "no" | "stopped";

/** A choice as it is kept. */
export interface Consent {
  choice: Choice;
  /** Milliseconds since 1970 at which it was made. */
  at: number;
  /** A yes that rests: the next page starts paused. */
  paused: boolean;
}

const HOLDS: Record<Choice, number> = { yes: YES_MILLIS, stopped: YES_MILLIS, no: NO_MILLIS };

/** The consent that still holds; `null` means the visitor is to be asked. */
export function standing(consent: Consent | null, now: number): Consent | null {
  if (!consent || !(consent.choice in HOLDS)) return null;
  const age = now - consent.at;
  // A clock that was set back must not make a yes last longer.
  return age >= 0 && age < HOLDS[consent.choice] ? consent : null;
}

/** Where a visitor without a yes stands; `null` where a yes holds. Takes what `standing` gives. */
export function sceneWithout(consent: Consent | null): "asking" | "stopped" | "declined" | null {
  if (!consent) return "asking";
  return consent.choice === "yes" ? null : consent.choice === "no" ? "declined" : "stopped";
}

/** Only a yes can rest: a stop that came first stays a stop. */
export function rested(consent: Consent, paused: boolean): Consent {
  return consent.choice === "yes" ? { ...consent, paused } : consent;
}

/** Millis until a yes lapses. */
export function yesLeft(consent: Consent, now: number): number {
  return Math.max(0, consent.at + YES_MILLIS - now);
}

/** A question that came under the pointer a moment ago was not read. */
const SHOWN_MILLIS = 500;

/**
 * Whether this click is the visitor's own answer to a question that stood there. Scripts of the host
 * cannot reach into the frame, and an event that a script made is not trusted. Every further
 * condition on a yes belongs here, so that there is one door.
 */
export async function isYes(click: Event, shownAt: number): Promise<boolean> {
  return click.isTrusted && click.timeStamp - shownAt >= SHOWN_MILLIS;
}

/** The kept choices of one job on one site. */
export class ConsentStore {
  #storage: Storage;
  #key: string;
  #tabs: BroadcastChannel | null;

  /** `changed` is called when another tab of this site wrote; what it wrote is to be read. */
  constructor(storage: Storage, job: string, changed: () => void) {
    this.#storage = storage;
    this.#key = "consent:" + job;
    this.#tabs = channel("potluck-" + this.#key);
    if (this.#tabs) this.#tabs.onmessage = changed;
  }

  async read(): Promise<Consent | null> {
    return ((await this.#storage.get(this.#key)) as Consent | undefined) ?? null;
  }

  async write(choice: Choice, now: number, paused = false): Promise<void> {
    await this.#storage.set(this.#key, { choice, at: now, paused } satisfies Consent);
    // Only once the other tabs can read it.
    this.#tabs?.postMessage("changed");
  }

  /** Keeps the time of the yes: resting does not prolong it. */
  rest(paused: boolean): Promise<void> {
    return this.#storage.change(this.#key, (kept) => rested(kept as Consent, paused));
  }
}

/** Firefox throws where third-party storage is blocked; the tabs then have nothing in common to follow. */
function channel(name: string): BroadcastChannel | null {
  try {
    return new BroadcastChannel(name);
  } catch {
    return null;
  }
}
