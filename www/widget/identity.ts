// The volunteer's key: Ed25519, made here, never extractable, kept where storage allows.

import type { Storage } from "./storage.ts";

const KEY = "identity";

/** The kept key pair, or a new one; `null` where this browser cannot make one. */
export async function ensureIdentity(storage: Storage): Promise<CryptoKeyPair | null> {
  const kept = (await storage.get(KEY)) as CryptoKeyPair | undefined;
  if (kept?.privateKey instanceof CryptoKey && kept.publicKey instanceof CryptoKey) return kept;
  try {
    const made = (await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"])) as CryptoKeyPair;
    await storage.set(KEY, made);
    return made;
  } catch {
    return null;
  }
}
