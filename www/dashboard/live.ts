// What the dashboard knows of one job, kept current: fetched once, then moved by server-sent events.
// Knows nothing of the page.

import type { Api, JobStatus, TallyRow, VersionRow } from "../common/api.ts";
import { ApiError } from "../common/api.ts";

/** The tally changes with every commit of a busy job; a person reads it far slower. */
const TALLY_MILLIS = 2_000;

export interface Live {
  status: JobStatus | null;
  /** In the order of versions. */
  history: VersionRow[];
  tally: TallyRow[];
  /** False while the stream is down; what is shown is then old. */
  connected: boolean;
  /** Why the job goes on no more, where the coordinator answers and says so. */
  failure: string | null;
}

export class Feed {
  #api: Api;
  #job: string;
  #changed: (live: Live) => void;
  #versions = new Map<number, VersionRow>();
  #live: Live = { status: null, history: [], tally: [], connected: false, failure: null };
  #tallyDue = 0;

  constructor(api: Api, job: string, changed: (live: Live) => void) {
    this.#api = api;
    this.#job = job;
    this.#changed = changed;
  }

  async open(): Promise<void> {
    this.#live.status = await this.#api.job(this.#job);
    const stream = new EventSource(this.#api.jobAddress(this.#job, "/events"));
    stream.addEventListener("job", (event) => this.#hearJob(JSON.parse(event.data) as JobStatus));
    stream.addEventListener("version", (event) => this.#hearVersion(JSON.parse(event.data) as VersionRow));
    // Whatever happened while the stream was down is in the lists, so each opening reads them.
    stream.onopen = () => void this.#catchUp();
    stream.onerror = () => void this.#ask();
    await this.#catchUp();
  }

  async #catchUp(): Promise<void> {
    try {
      const [history, tally] = await Promise.all([
        this.#api.history(this.#job),
        this.#api.contributions(this.#job),
      ]);
      for (const row of history) this.#keep(row);
      this.#tell({ history: this.#sorted(), tally, connected: true });
    } catch {
      this.#tell({ connected: false });
    }
  }

  /** The stream ends with the coordinator, and with a job that has failed. */
  async #ask(): Promise<void> {
    this.#tell({ connected: false });
    const failure = await this.#api.job(this.#job).then(
      () => null,
      (error: unknown) => (error instanceof ApiError && error.status > 0 ? error.message : null),
    );
    this.#tell({ failure });
  }

  #hearJob(status: JobStatus): void {
    this.#tell({ status, connected: true, failure: null });
    this.#freshenTally();
  }

  #hearVersion(row: VersionRow): void {
    this.#keep(row);
    this.#tell({ history: this.#sorted(), connected: true });
    this.#freshenTally();
  }

  #freshenTally(): void {
    if (this.#tallyDue) return;
    this.#tallyDue = setTimeout(() => {
      this.#tallyDue = 0;
      this.#api.contributions(this.#job).then(
        (tally) => this.#tell({ tally }),
        () => this.#tell({ connected: false }),
      );
    }, TALLY_MILLIS);
  }

  /** An evaluation comes after its version: later words about a version complete earlier ones. */
  #keep(row: VersionRow): void {
    const known = this.#versions.get(row.version);
    const said = Object.entries(row).filter(([, value]) => value !== null && value !== undefined);
    this.#versions.set(row.version, { ...(known ?? row), ...Object.fromEntries(said) });
  }

  #sorted(): VersionRow[] {
    return [...this.#versions.values()].sort((a, b) => a.version - b.version);
  }

  #tell(change: Partial<Live>): void {
    this.#live = { ...this.#live, ...change };
    this.#changed(this.#live);
  }
}
