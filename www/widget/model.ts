// What the widget shows, as a pure function of what happened. Knows no DOM, clock, storage or worker.

import type { JobCard, JobStatus } from "../common/api.ts";
import type { Device, VolunteerEvent } from "./events.ts";
import type { Limiter } from "./governor.ts";

/** One word for where the visitor stands; each has its own picture. */
export type Scene =
  | "loading"
  | "asking"
  | "checking"
  | "downloading"
  | "helping"
  | "waiting"
  | "paused"
  | "stopping"
  | "finished"
  | "stopped"
  | "declined"
  | "unsupported"
  | "offline"
  | "update_needed"
  | "failed";

/** Why the widget waits or is paused. */
export type Reason =
  | "round"
  | "owner"
  | "busy"
  | "enough"
  | "elsewhere"
  | "hidden"
  | "visitor"
  | "page"
  | "connecting"
  | Limiter;

/** Everything that the view reads. */
export interface Model {
  scene: Scene;
  reason: Reason | null;
  /** The server's or the browser's own words about a failure. */
  detail: string;
  card: JobCard | null;
  version: number | null;
  samples: number;
  budgetSamples: number;
  accuracy: number | null;
  volunteers: number;
  /** This key's tally in the job. */
  tasks: number;
  taskSamples: number;
  /** Results in a row that were not accepted, and the coordinator's words about the last. */
  refusals: number;
  refusal: string;
  /** Progress inside the present task, 0 to 1. */
  taskShare: number;
  bytes: number;
  bytesTotal: number | null;
  device: Device | null;
  /** What the visitor set and the most that the host allows, 0 to 1. */
  share: number;
  shareMax: number;
  /** What holds the share lower than the visitor's setting, and to what. */
  shareNow: number;
  limiter: Limiter | null;
  /** False where storage throws: the key then ends with the page. */
  lasting: boolean;
  /** True once something was computed in this page. */
  worked: boolean;
}

/** What can happen. */
export type Happening =
  | { happened: "job"; status: JobStatus }
  | { happened: "scene"; scene: Scene; reason?: Reason; detail?: string }
  | { happened: "share"; share: number; shareMax: number; shareNow: number; limiter: Limiter | null }
  | { happened: "storage"; lasting: boolean }
  | { happened: "volunteer"; event: VolunteerEvent };

export function initialModel(share: number): Model {
  return {
    scene: "loading",
    reason: null,
    detail: "",
    card: null,
    version: null,
    samples: 0,
    budgetSamples: 0,
    accuracy: null,
    volunteers: 0,
    tasks: 0,
    taskSamples: 0,
    refusals: 0,
    refusal: "",
    taskShare: 0,
    bytes: 0,
    bytesTotal: null,
    device: null,
    share,
    shareMax: 1,
    shareNow: share,
    limiter: null,
    lasting: true,
    worked: false,
  };
}

/** Scenes in which a worker runs or is about to. */
export function isActive(scene: Scene): boolean {
  return ["checking", "downloading", "helping", "waiting", "paused", "stopping", "offline"].includes(scene);
}

/** Paused by the device or the page, which a visitor cannot end by resuming. */
export function isHeld({ scene, reason, shareNow, limiter }: Model): boolean {
  return scene === "paused" && shareNow === 0 && reason !== null && reason === limiter;
}

export function next(model: Model, happening: Happening): Model {
  switch (happening.happened) {
    case "job":
      return { ...model, ...jobFacts(happening.status) };
    case "scene":
      return { ...model, scene: happening.scene, reason: happening.reason ?? null, detail: happening.detail ?? "" };
    case "share": {
      const { share, shareMax, shareNow, limiter } = happening;
      return { ...model, share, shareMax, shareNow, limiter };
    }
    case "storage":
      return { ...model, lasting: happening.lasting };
    case "volunteer":
      return afterEvent(model, happening.event);
  }
}

function jobFacts(status: JobStatus): Partial<Model> {
  return {
    card: status.card,
    version: status.version,
    samples: status.samples,
    budgetSamples: status.budget_samples,
    accuracy: status.accuracy.valid,
    volunteers: status.volunteers,
  };
}

function afterEvent(model: Model, event: VolunteerEvent): Model {
  const to = (scene: Scene, more: Partial<Model> = {}): Model => ({ ...model, scene, reason: null, ...more });
  switch (event.type) {
    case "connecting":
      return to("waiting", { reason: "connecting" });
    case "checking_device":
      return to("checking");
    case "downloading":
      // Blocks that come between two tasks are part of helping; only the first load is worth a picture.
      return model.worked && model.scene === "helping"
        ? model
        : to("downloading", { bytes: event.bytes, bytesTotal: event.total });
    case "helping":
      return to("helping", { taskShare: event.steps > 0 ? event.step / event.steps : 0, worked: true });
    case "waiting":
      return afterWaiting(model, event.reason);
    case "paused":
      return to("paused", { reason: model.scene === "paused" ? model.reason : "visitor" });
    case "offline":
      return to("offline");
    case "stopping":
      return to("stopping");
    case "stopped":
      return to("stopped");
    case "finished":
      return to("finished");
    case "update_needed":
      return to("update_needed", { detail: event.reason });
    case "unsupported":
      return to("unsupported", { detail: event.reason });
    case "crashed":
      return to("failed", { detail: event.detail });
    case "joined":
      return { ...model, card: event.card };
    case "device":
      return { ...model, device: event.device };
    case "credited":
      return { ...model, tasks: event.tasks, taskSamples: event.samples, refusals: 0, refusal: "" };
    case "progress":
      return {
        ...model,
        version: event.version,
        samples: event.samples,
        budgetSamples: event.budget_samples,
        accuracy: event.accuracy ?? model.accuracy,
        volunteers: event.volunteers,
      };
    case "refused":
      return { ...model, refusals: model.refusals + 1, refusal: event.detail };
    case "fallback":
      return model;
  }
}

function afterWaiting(model: Model, reason: "asking" | "round" | "paused" | "busy" | "enough" | "retry"): Model {
  // Asking takes a moment between any two tasks; it is not worth a change of picture.
  if (reason === "asking") return model.worked ? model : { ...model, scene: "waiting", reason: "connecting" };
  const why = reason === "paused" ? "owner" : reason === "retry" ? "busy" : reason;
  return { ...model, scene: "waiting", reason: why, taskShare: 0 };
}
