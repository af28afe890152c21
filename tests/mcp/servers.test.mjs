// Servers that other people wrote, with a client that other people wrote, through `thimble run`.
//   servers.test.mjs THIMBLE…   the words that start thimble (tools/lab run -- build/bin/thimble)
// CLONES=1: the servers are clones of some that were frozen when they were up.
// Prints a line for each property: "ok - …" or "not ok - …".
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { Session, textOf } from "./session.mjs";

const thimble = process.argv.slice(2);
let failures = 0;

async function property(name, check) {
  try {
    await check();
    console.log(`ok - ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`not ok - ${name}\n    ${String(error.stack ?? error).split("\n").slice(0, 3).join("\n    ")}`);
  }
}
function expect(holds, what) {
  if (!holds) throw new Error(what);
}

// Opens a session, runs the checks on it, and closes it whatever happens.
async function withServer(words, checks) {
  let stderr = "";
  const session = new Session([...thimble, "run", ...words], { onStderr: (text) => (stderr += text) });
  try {
    await property(`${words.at(-1)}: initialize is answered`, () => session.open());
    await checks(session, () => stderr);
  } finally {
    await session.close();
  }
}

const npx = (name, ...args) => ["--", "npx", "-y", `@modelcontextprotocol/${name}`, ...args];

await withServer(npx("server-everything"), async (session) => {
  await property("everything: its tools are listed", async () => {
    const { result } = await session.tools();
    expect(result.tools.length >= 10, `${result.tools.length} tools`);
  });
  await property("everything: a tool answers", async () => {
    const { result } = await session.call("echo", { message: "über ✓" });
    expect(textOf(result).includes("über ✓"), textOf(result));
  });
  await property("everything: an image comes through", async () => {
    const { result } = await session.call("get-tiny-image", {});
    expect(result.content.some((part) => part.type === "image" && part.data.length > 1000), "no image");
  });
  await property("everything: resources and prompts are listed", async () => {
    const { result } = await session.timed((client, options) => client.listResources(undefined, options));
    expect(result.resources.length > 0, "no resources");
    const prompts = await session.timed((client, options) => client.listPrompts(undefined, options));
    expect(prompts.result.prompts.length > 0, "no prompts");
  });
  await property("everything: many requests at once keep their answers", async () => {
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) => session.call("echo", { message: `number ${i}.` })));
    answers.forEach(({ result }, i) => expect(textOf(result).includes(`number ${i}.`), `answer ${i}`));
  });
  await property("everything: the server's environment holds nothing of ours", async () => {
    const { result } = await session.call("get-env", {});
    expect(!textOf(result).includes("THIMBLE") && !textOf(result).includes("npm_config"), textOf(result));
  });
});

await withServer(npx("server-memory"), async (session, stderr) => {
  await property("memory: what is stored is found", async () => {
    await session.call("create_entities", {
      entities: [{ name: "thimble", entityType: "tool", observations: ["keeps fingers whole"] }],
    });
    const { result } = await session.call("search_nodes", { query: "thimble" });
    expect(textOf(result).includes("keeps fingers whole"), textOf(result));
  });
  // A clone's server has said that before it was frozen (docs/templates.md).
  if (!process.env.CLONES) {
    await property("memory: its stderr arrives", () => expect(stderr().includes("running on stdio"), stderr()));
  }
});

await withServer(npx("server-memory"), async (session) => {
  await property("memory: nothing of an earlier session is left", async () => {
    const { result } = await session.call("read_graph", {});
    expect(!textOf(result).includes("keeps fingers whole"), textOf(result));
  });
});

await withServer(npx("server-sequential-thinking"), async (session) => {
  await property("sequential-thinking: its tool answers", async () => {
    const { result } = await session.call("sequentialthinking", {
      thought: "one", nextThoughtNeeded: false, thoughtNumber: 1, totalThoughts: 1,
    });
    expect(textOf(result).includes("thoughtNumber"), textOf(result));
  });
});

// Under the home directory: the box of the lab shares that, while /tmp is its own.
const cache = process.env.THIMBLE_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache"), "thimble");
const folder = mkdtempSync(path.join(cache, "test-"));
try {
  writeFileSync(path.join(folder, "note.txt"), "written on the host");
  await withServer(npx("server-filesystem", folder), async (session) => {
    await property("filesystem: a folder in the command can be read", async () => {
      const { result } = await session.call("read_text_file", { path: path.join(folder, "note.txt") });
      expect(textOf(result).includes("written on the host"), textOf(result));
    });
    await property("filesystem: what was not named is not there", async () => {
      const { result } = await session.call("read_text_file", { path: "/etc/shadow" });
      expect(result.isError, textOf(result));
    });
    await property("filesystem: writing does not reach the host", async () => {
      const { result } = await session.call("write_file", { path: path.join(folder, "new.txt"), content: "x" });
      const { existsSync } = await import("node:fs");
      expect(!existsSync(path.join(folder, "new.txt")), textOf(result));
    });
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}

// A server with nothing but Python's standard library, which reports what it can see.
const probe = path.join(`${path.dirname(new URL(import.meta.url).pathname)}-probe`, "probe_server.py");
await withServer(["--", "python3", probe], async (session) => {
  const { result } = await session.call("probe", {});
  const seen = JSON.parse(textOf(result));
  await property("probe: the kernel is not the host's", () => expect(seen.kernel !== os.release(), seen.kernel));
  await property("probe: the host's name is not seen", () => expect(seen.hostname !== os.hostname(), seen.hostname));
  await property("probe: no network but loopback", () => expect(seen.interfaces.join() === "lo", seen.interfaces.join()));
  await property("probe: nothing of the home directory", () =>
    // The probe's own folder lies below .cache, so that name alone is there.
    expect(seen.home.every((name) => name === ".cache"), seen.home.join()));
  await property("probe: no address of the outside is reached", () => expect(seen.connect !== "connected", seen.connect));
  // Servers that watch for being orphans would end below process 1.
  await property("probe: its parent is the guest's own, and not process 1", () =>
    expect(seen.parent !== 1 && seen.parent_name === "thimble-parent", `${seen.parent} ${seen.parent_name}`));
});

process.exit(failures ? 1 : 0);
