// One MCP session over stdio with the official TypeScript SDK: starts a command as a client would,
// and says how long each step took. Used by the demo and by the tests.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const TIMEOUT = 120_000; // ms for one request: an emulated machine is slow

export class Session {
  constructor(command, { onStderr = () => {} } = {}) {
    this.transport = new StdioClientTransport({
      command: command[0],
      args: command.slice(1),
      env: process.env,
      stderr: "pipe",
    });
    this.transport.stderr.on("data", (data) => onStderr(data.toString()));
    this.client = new Client({ name: "thimble-client", version: "1" }, { capabilities: { roots: {} } });
    this.notifications = [];
    this.client.fallbackNotificationHandler = async (note) => this.notifications.push(note.method);
  }

  // Milliseconds from the start of the command to the answer to `initialize`.
  async open() {
    const start = performance.now();
    await this.client.connect(this.transport, { timeout: TIMEOUT });
    return performance.now() - start;
  }

  async timed(work) {
    const start = performance.now();
    const result = await work(this.client, { timeout: TIMEOUT });
    return { result, ms: performance.now() - start };
  }

  tools() {
    return this.timed((client, options) => client.listTools(undefined, options));
  }
  call(name, args) {
    return this.timed((client, options) => client.callTool({ name, arguments: args }, undefined, options));
  }
  ping() {
    return this.timed((client, options) => client.ping(options));
  }

  // Ends the session as the specification says: close stdin, wait, SIGTERM, SIGKILL. Milliseconds.
  async close() {
    const start = performance.now();
    await this.client.close();
    return performance.now() - start;
  }
}

export const textOf = (result) => result.content.map((part) => part.text ?? "").join("\n");
