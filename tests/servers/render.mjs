// The rows of table.mjs as docs/servers.md. What servers said goes into a table cell: printable, short.
const cell = (text = "") => {
  const printable = String(text).replace(/[^\x20-\x7e]/g, "?").replace(/([|<>`*_\\[\]])/g, "\\$1");
  return printable.length > 160 ? printable.slice(0, 157) + "..." : printable;
};

// One word where both kinds of start agree.
const both = (row, what) => {
  const [cold, clone] = [row.cold?.[what] ?? "", row.clone?.[what] ?? ""];
  return cold === clone || !row.clone ? cold : `cold ${cold || "none"}, clone ${clone || "none"}`;
};

const natively = (row) => (row.native?.startsWith("no") ? `natively ${row.native}` : "");

const COLUMNS = [
  ["server", (row) => `${row.name} ${row.version ?? ""}`],
  ["starts cold", (row) => row.cold?.starts ?? "not tried"],
  ["starts as a clone", (row) => row.clone?.starts ?? ""],
  ["tools as native", (row) => [row.tools, both(row, "tools")].filter(Boolean).join(", ")],
  ["one call", (row) => [row.called, both(row, "call")].filter(Boolean).join(": ")],
  ["ends as native", (row) => both(row, "ends")],
  ["image", (row) => row.image],
  ["built in", (row) => (row.seconds ? `${row.seconds} s` : "")],
  ["needs, says", (row) => [row.needs, row.words, natively(row), row.note].filter(Boolean).join("; ")],
];

const firstCell = (line) => line.split(" | ")[0].slice(2);
const wholly = (row) => [row.cold, row.clone].every((run) => run?.starts === "yes" && run.tools === "same" && run.ends === "yes");
const heads = `| ${COLUMNS.map(([title]) => title).join(" | ")} |`;

export const hasRow = (written, name) => written.split("\n").some((line) => line.startsWith("| ") && firstCell(line).startsWith(`${cell(name)} `));

// KEPT is the file as it was: rows of it that nobody tried again stay, in their place of the LIST.
export function renderTable(rows, list, kept = "") {
  const old = kept.includes(heads) ? kept.split("\n").filter((line) => line.startsWith("| ")) : [];
  const lines = list.flatMap(({ package: name }) => {
    const row = rows.find((one) => one.name === name);
    if (row) return [`| ${COLUMNS.map(([, value]) => cell(value(row))).join(" | ")} |`];
    return old.filter((line) => hasRow(line, name));
  });
  const good = rows.filter(wholly).length;
  return `# Servers tried

Made by \`make servers\` (tests/servers/table.mjs; \`make servers ONLY=NAME\` for some of them). Each server of
\`tests/servers/list.json\` ran three times: on the machine itself (as a user without rights, without network,
with the node of our images, the version that the image has, since npx under another node may choose another one,
installed without install scripts), in a VM that boots, and as a clone of a template that was frozen when the server was up. *Starts*: it answered \`initialize\`. *Tools*: how many, and
whether its answer to \`tools/list\` is the native one byte for byte. *One call*: a tool that only reads, with the least
that its schema asks for; *same* and *same error* are the native bytes (an error is common: no network, no key), *same
kind* is an answer where natively is one, with other words. Guests have no network and no live folders yet, so what a
server needs of them fails here as it fails natively without. *Built in*: packages fetched, installed, bundled, packed.

${lines.length} of ${list.length} listed servers tried; of the ${rows.length} that the last makers of this file ran, ${good} are the same in all that was
compared. PyPI could not be reached from where this was made, and no Debian package holds an MCP server: Python servers
of others are not among them. Five of ours on the standard library alone are in the list, in the shapes that those have (a
reader thread, child processes, asyncio, SQLite, time zones), with Debian's python3 natively.

${heads}
|${COLUMNS.map(() => "---").join("|")}|
${lines.join("\n")}
`;
}
