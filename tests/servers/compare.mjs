// One session with a server, and how those in VMs compare with the one on this machine.
import { harmlessCall } from "./harmless_call.mjs";
import { StdioClient } from "./stdio_client.mjs";

const CALL_LIMIT = 45_000;

// initialize, the list of tools, one call, the end. The call is `server.call` or else one that looks
// harmless; which one it was is in `called`.
export async function session(words, server, options) {
  const client = new StdioClient(words, options);
  const seen = {};
  try {
    seen.initialize = await client.initialize();
    seen.tools = await client.request("tools/list");
    seen.called = server.call ?? harmlessCall(seen.tools);
  } catch (error) {
    seen.failed = error.message;
  }
  if (seen.called) {
    const [name, args = {}] = seen.called;
    seen.call = await client.request("tools/call", { name, arguments: args }, CALL_LIMIT).catch((error) => error.message);
  }
  seen.end = await client.end();
  seen.noise = client.noise;
  seen.stderr = client.stderr;
  return seen;
}

export const startVerdict = (native, guest) => {
  if (!guest.failed) return native.failed ? "yes (natively not)" : "yes";
  return guest.failed === native.failed ? "as natively: no" : `no: ${guest.failed}`;
};

// What an answer says when it is no JSON: the session's own words for a missing one.
const failed = (line) => {
  try {
    const message = JSON.parse(line);
    return message.error !== undefined || message.result?.isError === true;
  } catch {
    return line;
  }
};

export function toolsVerdict(native, again, guest) {
  if (guest.tools === undefined || native.tools === undefined) return "";
  if (native.noise !== guest.noise) return `${guest.noise} lines of noise, natively ${native.noise}`;
  if (native.tools === guest.tools) return "same";
  return again.tools === native.tools ? "other" : "other, natively each time too";
}

export function callVerdict(native, again, guest) {
  if (native.call === undefined || guest.tools === undefined) return "";
  if (native.call === guest.call) return failed(native.call) === false ? "same" : "same error";
  if (failed(native.call) !== failed(guest.call)) {
    return failed(guest.call) ? `fails: ${guest.call.slice(0, 300)}` : "works here only";
  }
  return again.call === native.call ? "same kind" : "same kind, natively other each time";
}

export const endVerdict = (native, guest) =>
  guest.end === undefined ? "" : native.end === guest.end ? "yes" : `${guest.end}, natively ${native.end}`;

export const toolCount = (seen) => {
  if (seen.tools === undefined) return "";
  return String(JSON.parse(seen.tools).result?.tools?.length ?? "error");
};

// The last line that a failing server printed: most say there what they miss.
export function lastWords(seen) {
  const lines = seen.stderr.split("\n").map((line) => line.trim());
  return lines.filter((line) => line && !line.startsWith("at ") && !line.startsWith("Node.js v")).at(-1) ?? "";
}
