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

  constructor(storage: Storage, job: string) {
    this.#storage = storage;
    this.#key = "consent:" + job;
  }

  async read(): Promise<Consent | null> {
    return ((await this.#storage.get(this.#key)) as Consent | undefined) ?? null;
  }

  write(choice: Choice, now: number, paused = false): Promise<void> {
    return this.#storage.set(this.#key, { choice, at: now, paused } satisfies Consent);
  }

  /** Keeps the time of the yes: resting does not prolong it. */
  async rest(paused: boolean): Promise<void> {
    const kept = await this.read();
    if (kept?.choice === "yes") await this.#storage.set(this.#key, { ...kept, paused });
  }
}
