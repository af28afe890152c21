// The rows of table.mjs as docs/servers.md. What servers said goes into a table cell: printable, short.
const cell = (text = "") => {
  const printable = String(text).replace(/[^\x20-\x7e]/g, "?").replace(/([|<>`*_\\[\]])/g, "\\$1");
  return printable.length > 120 ? printable.slice(0, 117) + "..." : printable;
};

const COLUMNS = [
  ["server", (row) => `${row.name} ${row.version ?? ""}`],
  ["tools", (row) => row.tools],
  ["cold as native", (row) => row.cold ?? "not tried"],
  ["clone as native", (row) => row.clone ?? ""],
  ["one call", (row) => row.call],
  ["ends as native", (row) => row.end],
  ["image", (row) => (row.seconds ? `${row.image}, ${row.seconds} s` : row.image)],
  ["needs, says", (row) => [row.needs, row.words, row.native?.startsWith("no") ? `natively ${row.native}` : ""].filter(Boolean).join("; ")],
];

export function renderTable(rows, listed) {
  const good = rows.filter((row) => row.cold === "yes" && row.clone === "yes").length;
  const lines = [
    "# Servers tried",
    "",
    "Made by `make servers` (tests/servers/table.mjs; `make servers ONLY=NAME` for some of them). Each server of",
    "`tests/servers/list.json` ran three times: on the machine itself (as a user without rights, without network,",
    "node of our images, installed without install scripts), in a VM that boots, and as a clone of a template that was",
    "frozen when the server was up. *yes* means: it answered `initialize`, and its answer to `tools/list` was the",
    "native one byte for byte. *One call* compares the answer to one harmless call. Guests have no network and no live",
    "folders yet, so what a server needs of them fails here as it fails natively without.",
    "",
    `${rows.length} of ${listed} listed servers tried; ${good} are the same cold and as clones. PyPI cannot be reached from`,
    "where this was made: Python servers of others are not among them.",
    "",
    `| ${COLUMNS.map(([title]) => title).join(" | ")} |`,
    `|${COLUMNS.map(() => "---").join("|")}|`,
    ...rows.map((row) => `| ${COLUMNS.map(([, value]) => cell(value(row))).join(" | ")} |`),
  ];
  return lines.join("\n") + "\n";
}
