// A small MCP server on stdin and stdout: one tool, whose description says what its kind found out.
const readline = require("node:readline");

exports.serve = (kind, found) => {
  const answers = {
    initialize: { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: kind, version: "1" } },
    "tools/list": { tools: [{ name: kind, description: String(found), inputSchema: { type: "object" } }] },
  };
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const { id, method } = JSON.parse(line);
    if (id !== undefined) console.log(JSON.stringify({ jsonrpc: "2.0", id, result: answers[method] ?? {} }));
  });
  lines.on("close", () => process.exit(0));
};
