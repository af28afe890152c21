// A client of a stdio MCP server for comparisons: it keeps the very bytes of each answer, which an
// SDK's client does not. Everything that a server prints is foreign: lines are bounded, and what is
// no JSON object is counted and skipped.
import { spawn } from "node:child_process";

const LINE_LIMIT = 32 << 20;

export class StdioClient {
  // WORDS start the server; `env` is all of its environment.
  constructor(words, { env, cwd, timeout = 300_000 } = {}) {
    this.timeout = timeout;
    this.stderr = "";
    this.noise = 0;
    this.waiting = new Map();
    this.ended = new Promise((resolve) => (this.resolveEnd = resolve));
    this.child = spawn(words[0], words.slice(1), { env, cwd, stdio: ["pipe", "pipe", "pipe"] });
    this.child.on("error", (error) => this.#end(`cannot start: ${error.code}`));
    this.child.on("close", (status, signal) => this.#end(signal ? 128 + signalNumber(signal) : status));
    this.child.stdin.on("error", () => {});
    this.child.stderr.setEncoding("utf8").on("data", (text) => (this.stderr = (this.stderr + text).slice(-8192)));
    this.pending = "";
    this.child.stdout.setEncoding("utf8").on("data", (text) => this.#take(text));
  }

  // The answer's own line, unparsed.
  async request(method, params = {}, limit = this.timeout) {
    const id = (this.lastId = (this.lastId ?? 0) + 1);
    const answer = new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`no answer to ${method} in ${limit / 1000} s`));
      }, limit);
      this.waiting.set(id, { resolve, reject, timer });
    });
    if (this.status !== undefined) this.#fail(new Error(`ended with ${this.status}`));
    this.#send({ jsonrpc: "2.0", id, method, params });
    return answer;
  }

  async initialize() {
    const line = await this.request("initialize", {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "thimble-servers", version: "1" },
    });
    this.#send({ jsonrpc: "2.0", method: "notifications/initialized" });
    return line;
  }

  // Ends its input, and after `timeout` ms the server itself. What it ended with, or "stayed".
  async end(timeout = 15_000) {
    this.child.stdin.end();
    const stayed = setTimeout(() => {
      this.stayed = true;
      this.child.kill("SIGTERM");
    }, timeout);
    const killed = setTimeout(() => this.child.kill("SIGKILL"), timeout + 15_000);
    await this.ended;
    clearTimeout(stayed);
    clearTimeout(killed);
    return this.stayed ? "stayed" : this.status;
  }

  #send(message) {
    this.child.stdin.write(JSON.stringify(message) + "\n");
  }

  #take(text) {
    this.pending += text;
    for (let end; (end = this.pending.indexOf("\n")) >= 0; ) {
      this.#takeLine(this.pending.slice(0, end));
      this.pending = this.pending.slice(end + 1);
    }
    if (this.pending.length > LINE_LIMIT) this.child.kill("SIGKILL");
  }

  #takeLine(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      this.noise += 1;
      return;
    }
    if (message?.method !== undefined && message.id !== undefined) {
      // Requests of the server's (roots, sampling): this client can do nothing.
      this.#send({ jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "not here" } });
      return;
    }
    const waiter = this.waiting.get(message?.id);
    if (waiter === undefined) return;
    this.waiting.delete(message.id);
    clearTimeout(waiter.timer);
    waiter.resolve(line);
  }

  #end(status) {
    if (this.status !== undefined) return;
    this.status = status;
    this.#fail(new Error(`ended with ${status}`));
    this.resolveEnd();
  }

  #fail(error) {
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.waiting.clear();
  }
}

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGILL: 4, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGPIPE: 13, SIGTERM: 15 };
const signalNumber = (name) => SIGNALS[name] ?? 0;
