import { createGunzip, gzipSync } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { Readable, Writable } from "node:stream";
import { createHash } from "node:crypto";
import { serve } from "../serve.cjs";
const hash = createHash("sha256");
await pipeline(Readable.from([gzipSync("x".repeat(1 << 20))]), createGunzip(),
  new Writable({ write: (chunk, _, done) => { hash.update(chunk); done(); } }));
serve("streams", hash.digest("hex"));
