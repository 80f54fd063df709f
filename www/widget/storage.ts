// A small key-value store in IndexedDB that never throws: where the browser forbids storage, values
// live as long as the page, and `lasting` says so. Knows nothing of what it keeps.

const DATABASE = "potluck";
const STORE = "values";

export class Storage {
  #database: IDBDatabase | null;
  #memory = new Map<string, unknown>();

  private constructor(database: IDBDatabase | null) {
    this.#database = database;
  }

  static async open(): Promise<Storage> {
    return new Storage(await openDatabase().catch(() => null));
  }

  /** False where values end with the page. */
  get lasting(): boolean {
    return this.#database !== null;
  }

  async get(key: string): Promise<unknown> {
    if (!this.#database) return this.#memory.get(key);
    const found = await this.#request("readonly", (store) => store.get(key)).catch(() => undefined);
    return found ?? this.#memory.get(key);
  }

  async set(key: string, value: unknown): Promise<void> {
    this.#memory.set(key, value);
    await this.#request("readwrite", (store) => store.put(value, key)).catch(() => this.#giveUp());
  }

  /** Changes a value that is there, in one step: what another tab writes meanwhile is not written over. */
  async change(key: string, change: (kept: unknown) => unknown): Promise<void> {
    const known = this.#memory.get(key);
    if (!this.#database && known !== undefined) this.#memory.set(key, change(known));
    await this.#request("readwrite", (store) => {
      const got = store.get(key);
      got.onsuccess = () => {
        if (got.result === undefined) return;
        const changed = change(got.result);
        this.#memory.set(key, changed);
        store.put(changed, key);
      };
      return got;
    }).catch(() => this.#giveUp());
  }

  #giveUp(): void {
    this.#database = null;
  }

  #request(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.#database) return reject(new Error("no database"));
      const transaction = this.#database.transaction(STORE, mode);
      const request = ask(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

function openDatabase(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    // Throws at once where third-party storage is blocked.
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}
