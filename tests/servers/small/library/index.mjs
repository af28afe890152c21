// What node brings by itself: one tool for each part that was tried.
import { serveAll } from "../serve.cjs";
import files from "./files.cjs";
import intl from "./intl.cjs";
import { loopback } from "./loopback.mjs";
import { streams } from "./streams.mjs";
import { wasm } from "./wasm.mjs";
const parts = { files, intl, loopback, streams, wasm };
const found = {};
for (const [part, tried] of Object.entries(parts)) found[part] = await tried();
serveAll("library", found);
