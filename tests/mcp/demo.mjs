// What `make demo` shows: a real MCP server in a microVM and a real client talking to it.
//   demo.mjs THIMBLE… -- SERVER…   the words that start thimble, and the server's command
// First in a VM that boots; then in clones of a VM that was frozen when the server was up.
import { spawnSync } from "node:child_process";
import { Session, textOf } from "./session.mjs";

const words = process.argv.slice(2);
const split = words.lastIndexOf("--"); // the words that start thimble may have one, too
const thimble = words.slice(0, split);
const server = words.slice(split + 1);
const command = [...thimble, "run", "--cold", "--", ...server];
const say = (text) => console.log(text);
const took = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

say(`client: official MCP TypeScript SDK over stdio`);
say(`server: ${command.join(" ")}\n`);

const session = new Session(command, { onStderr: (text) => process.stderr.write(text.replace(/^/gm, "  server's stderr | ").trimEnd() + "\n") });
const opened = await session.open();
const version = session.client.getServerVersion();
say(`initialize       ${took(opened)} from the start of the command: ${version.name} ${version.version}`);

const tools = await session.tools();
say(`tools/list       ${took(tools.ms)}: ${tools.result.tools.map((tool) => tool.name).join(", ")}`);
const echo = await session.call("echo", { message: "hello from outside the microVM" });
say(`tools/call echo  ${took(echo.ms)}: ${textOf(echo.result)}`);
const sum = await session.call("get-sum", { a: 20, b: 22 });
say(`tools/call sum   ${took(sum.ms)}: ${textOf(sum.result)}`);
const pings = [];
for (let i = 0; i < 20; ++i) pings.push((await session.ping()).ms);
say(`ping             ${took(pings.sort((a, b) => a - b)[10])} (median of 20)`);
const env = await session.call("get-env", {});
say(`what the server sees of the environment: ${textOf(env.result).replace(/\s+/g, " ")}`);
say(`end              ${took(await session.close())}`);

say("\nthe same server frozen once it was up (thimble run does this by itself in the background):");
const begin = performance.now();
const made = spawnSync(thimble[0], [...thimble.slice(1), "template", "auto", "--freeze", "ready", "--", ...server], {
  stdio: ["ignore", "inherit", "ignore"],
});
if (made.status !== 0) throw new Error(`no template was made (status ${made.status})`);
say(`template         ${took(performance.now() - begin)}`);
const clone = [...thimble, "run", "--", ...server];
let fastest = Infinity;
for (const how of ["a clone", "a clone, from the daemon's pool", "another"]) {
  const next = new Session(clone, { onStderr: () => {} });
  const ms = await next.open();
  await next.call("echo", { message: how });
  await next.close();
  fastest = Math.min(fastest, ms);
  say(`initialize       ${took(ms)} from the start of the command: ${how}`);
  await new Promise((resolve) => setTimeout(resolve, 3000)); // the daemon makes the next one ready
}
say(`cold start : clone = ${(opened / fastest).toFixed(1)} : 1`);
