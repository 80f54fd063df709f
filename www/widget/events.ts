// What the wasm volunteer says and what may be said to its worker; mirrors crates/browser/README.md.

import type { Backend, JobCard } from "../common/api.ts";

/** Exactly one of these holds at a time. */
export type VolunteerState =
  | { type: "connecting" }
  | { type: "downloading"; bytes: number; total: number | null }
  | { type: "checking_device" }
  | { type: "helping"; task: number; kind: "train" | "evaluate"; step: number; steps: number; loss: number | null }
  | { type: "waiting"; reason: "asking" | "round" | "paused" | "busy" | "enough" | "retry"; retry_millis: number }
  | { type: "paused" }
  | { type: "offline"; retry_millis: number }
  | { type: "stopping" }
  | { type: "stopped" }
  | { type: "finished" }
  | { type: "update_needed"; reason: string }
  | { type: "unsupported"; reason: string }
  | { type: "crashed"; detail: string };

/** Beside the state; changes none. */
export type VolunteerNote =
  | { type: "joined"; card: JobCard; volunteer: string }
  | { type: "device"; device: Device }
  | { type: "fallback"; reason: string }
  | { type: "credited"; task: number; tasks: number; samples: number }
  | { type: "refused"; code: string; detail: string; task: number | null }
  | {
      type: "progress";
      version: number;
      samples: number;
      budget_samples: number;
      accuracy: number | null;
      volunteers: number;
    };

const NOTES: readonly string[] = [
  "joined",
  "device",
  "fallback",
  "credited",
  "refused",
  "progress",
] satisfies VolunteerNote["type"][];

export function isNote(event: VolunteerEvent): event is VolunteerNote {
  return NOTES.includes(event.type);
}

export type VolunteerEvent = VolunteerState | VolunteerNote;

/** The device as it was measured and chosen. */
export interface Device {
  agent: string;
  adapter: string;
  backend: Backend;
  forced: boolean;
  challenge: [Backend, number][];
}

/** What `VolunteerHandle.start` takes. */
export interface StartOptions {
  url: string;
  job: string;
  backend: BackendChoice;
  share: number;
  agent: string;
  build: string;
  keyPair?: CryptoKeyPair;
}

export type BackendChoice = "auto" | "webgpu" | "cpu";

/** From the widget to its worker. */
export type WorkerCommand =
  | { command: "start"; options: StartOptions }
  | { command: "pause" }
  | { command: "resume" }
  | { command: "share"; share: number }
  | { command: "stop" };

/** From the worker to the widget. `done` follows a `stop` once everything is handed in. */
export type WorkerReport = { event: VolunteerEvent } | { done: true };
