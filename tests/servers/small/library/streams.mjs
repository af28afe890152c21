import { createHash } from "node:crypto";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, gzipSync } from "node:zlib";

export async function streams() {
  const hash = createHash("sha256");
  await pipeline(Readable.from([gzipSync("x".repeat(1 << 20))]), createGunzip(),
    new Writable({ write: (chunk, _, done) => { hash.update(chunk); done(); } }));
  return hash.digest("hex");
}
