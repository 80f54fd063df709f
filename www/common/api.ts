// The coordinator's HTTP answers, as far as the pages read them, and the few calls that they make.
// Field names are the wire's. Nothing here touches the DOM.

/** What computes. */
export type Backend = "webgpu" | "wasm" | "gpu" | "cpu";

/** What a visitor is told about a job. */
export interface JobCard {
  name: string;
  title: string;
  text: string;
  owner: string;
  contact: string;
  licence: string;
  data_licence: string;
  data_source: string;
  program: ProgramFacts;
}

/** Size facts of a program. */
export interface ProgramFacts {
  parameters: number;
  train_flops_per_sample: number;
  evaluate_flops_per_sample: number;
}

/** A volunteer that is connected now. */
export interface Connected {
  key: string;
  /** This and the next two are known once the device was measured. */
  agent: string | null;
  adapter: string | null;
  backend: Backend | null;
  forced: boolean;
  trusted: boolean;
  /** Training samples a second, as measured. */
  speed: number | null;
}

/** A number on each split that has one. */
export interface BySplit {
  valid: number | null;
  test: number | null;
}

/** How a job is trained, as far as a page shows it. */
export interface Recipe {
  /** The variant's name, with its constants. */
  optimizer: Record<string, Record<string, number>>;
  /** The peak. */
  lr: number;
  schedule: string;
  steps: number;
  batch: number;
  budget_samples: number;
  target_accuracy: number | null;
  outer: { lr: number; momentum: number };
  update: string;
}

/** What the owner changed of the recipe at one moment. */
export interface RecipeChange {
  at: number;
  version: number;
  samples: number;
  differences: { field: string; from: string; to: string }[];
}

/** `GET jobs/{job}`, and the data of the `job` event. */
export interface JobStatus {
  card: JobCard;
  phase: "running" | "paused" | "finished";
  /** Why it is paused, where its owner did not pause it: "disk quota" or "disk full". */
  blocked?: string | null;
  version: number;
  samples: number;
  budget_samples: number;
  volunteers: number;
  accuracy: BySplit;
  loss: BySplit;
  /** Address of the newest model, relative to the coordinator's origin. */
  model: string;
  recipe: Recipe;
  /** What its job file names. */
  strategy: "auto" | "rounds" | "buffered";
  /** How it is paced now. */
  mode: "rounds" | "buffered";
  /** The newest changes of the recipe, the last one last. */
  changes: RecipeChange[];
  connected: Connected[];
  /** Results, updates and messages that were refused since the coordinator's start, by code. */
  refused: Record<string, number>;
  started_at: number;
}

/** One row of `GET .../history`, and the data of the `version` event. */
export interface VersionRow {
  version: number;
  at: number;
  samples: number;
  loss: number | null;
  accuracy: number | null;
  test_loss?: number | null;
  test_accuracy?: number | null;
  contributions: number;
}

/** One row of `GET .../contributions`. */
export interface TallyRow {
  volunteer: string;
  agent: string | null;
  adapter: string | null;
  backend: Backend | null;
  tasks: number;
  samples: number;
  flops: number;
  first_at: number;
  last_at: number;
}

/** A refusal: `application/problem+json`, or no answer at all (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/**
 * The coordinator's root, from the address of a script under `.../assets/<page>/`: right too where
 * the router is mounted below a path of somebody else's server.
 */
export function rootOf(scriptUrl: string): URL {
  return new URL("../../", scriptUrl);
}

/** Calls one coordinator. */
export class Api {
  readonly root: URL;

  constructor(root: URL) {
    this.root = root;
  }

  address(path: string): string {
    return new URL("api/v1/" + path, this.root).href;
  }

  jobAddress(job: string, rest = ""): string {
    return this.address("jobs/" + encodeURIComponent(job) + rest);
  }

  job(job: string): Promise<JobStatus> {
    return this.#get(this.jobAddress(job));
  }

  async jobNames(): Promise<string[]> {
    const answer = await this.#get<{ jobs: { name: string }[] }>(this.address("jobs"));
    return answer.jobs.map((row) => row.name);
  }

  /** Every row from the cursor on; follows the cursor to its end. */
  history(job: string): Promise<VersionRow[]> {
    return this.#pages(this.jobAddress(job, "/history"), "versions");
  }

  /** The whole tally, in the server's order. */
  contributions(job: string): Promise<TallyRow[]> {
    return this.#pages(this.jobAddress(job, "/contributions"), "contributions");
  }

  /** Pauses, resumes or stops a job, with the owner's token. */
  async control(job: string, control: "pause" | "resume" | "stop", token: string): Promise<void> {
    await this.#ask(this.jobAddress(job, "/control"), {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer " + token },
      body: JSON.stringify({ control }),
    });
  }

  async #pages<Row>(address: string, field: string): Promise<Row[]> {
    const rows: Row[] = [];
    let cursor: string | null = null;
    do {
      const url = new URL(address);
      if (cursor !== null) url.searchParams.set("cursor", cursor);
      const page: Record<string, unknown> = await this.#get(url.href);
      const found = page[field] as Row[];
      rows.push(...found);
      const next = page["cursor"];
      // An empty page ends it whatever its cursor says, so that no answer can keep us asking.
      cursor = found.length > 0 && next !== null && next !== undefined ? String(next) : null;
    } while (cursor !== null);
    return rows;
  }

  async #get<T>(address: string): Promise<T> {
    const response = await this.#ask(address, { headers: { accept: "application/json" } });
    return (await response.json()) as T;
  }

  async #ask(address: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(address, { ...init, cache: "no-store", credentials: "omit" });
    } catch {
      throw new ApiError(0, "unreachable", "the coordinator does not answer");
    }
    if (response.ok) return response;
    const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string };
    throw new ApiError(response.status, problem.code ?? "http", problem.detail ?? `status ${response.status}`);
  }
}
