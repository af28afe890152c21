// One server, three times: on this machine, in a VM that boots, as a clone. What differs is told.
import { StdioClient } from "./stdio_client.mjs";

// One session: initialize, the list of tools, one call, the end.
export async function session(words, server, options) {
  const client = new StdioClient(words, options);
  const seen = {};
  try {
    seen.initialize = await client.initialize();
    seen.tools = await client.request("tools/list");
    if (server.call) {
      seen.call = await client.request("tools/call", { name: server.call[0], arguments: server.call[1] ?? {} });
    }
  } catch (error) {
    seen.failed = error.message;
  }
  seen.end = await client.end();
  seen.noise = client.noise;
  seen.stderr = client.stderr;
  return seen;
}

// How a run in a VM compares with the one on this machine: "yes", or what is different.
export function verdict(native, guest) {
  if (native.failed && guest.failed) return native.failed === guest.failed ? "as native" : `other failure: ${guest.failed}`;
  if (guest.failed) return `no: ${guest.failed}`;
  if (native.failed) return "yes (native does not start)";
  if (native.tools !== guest.tools) return "other tools";
  if (native.noise !== guest.noise) return `${guest.noise} lines of noise, natively ${native.noise}`;
  return "yes";
}

export function callVerdict(native, guest) {
  if (native.call === undefined) return "";
  if (native.call === guest.call) return "same bytes";
  const failed = (line) => {
    const message = JSON.parse(line ?? "{}");
    return message.error !== undefined || message.result?.isError === true;
  };
  if (guest.call === undefined) return "no answer";
  return failed(native.call) === failed(guest.call) ? "same kind" : failed(guest.call) ? "fails" : "works here only";
}

export const endVerdict = (native, guest) =>
  native.end === guest.end ? "yes" : `${guest.end}, natively ${native.end}`;

export const toolCount = (seen) => {
  if (seen.tools === undefined) return "";
  return String(JSON.parse(seen.tools).result?.tools?.length ?? "error");
};

// The last line that a failing server printed: most say there what they miss.
export function lastWords(seen) {
  const lines = seen.stderr.split("\n").map((line) => line.trim());
  return lines.filter((line) => line && !line.startsWith("at ") && !line.startsWith("Node.js v")).at(-1) ?? "";
}
