import http from "node:http";
import os from "node:os";

export async function loopback() {
  const server = http.createServer((_, answer) => answer.end("heard")).listen(0, "localhost");
  await new Promise((resolve) => server.once("listening", resolve));
  const found = await fetch(`http://localhost:${server.address().port}/`).then((answer) => answer.text());
  server.close();
  server.closeAllConnections();
  return `${found} ${os.hostname() !== ""}`;
}
