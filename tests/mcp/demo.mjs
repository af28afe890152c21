// What `make demo` shows: a real MCP server in a microVM and a real client talking to it.
//   demo.mjs COMMAND…   the command that starts the server (thimble run -- npx …)
import { Session, textOf } from "./session.mjs";

const command = process.argv.slice(2);
const say = (text) => console.log(text);
const took = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

say(`client: official MCP TypeScript SDK over stdio`);
say(`server: ${command.join(" ")}\n`);

const session = new Session(command, { onStderr: (text) => process.stderr.write(text.replace(/^/gm, "  server's stderr | ").trimEnd() + "\n") });
const opened = await session.open();
const server = session.client.getServerVersion();
say(`initialize       ${took(opened)} from the start of the command: ${server.name} ${server.version}`);

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
