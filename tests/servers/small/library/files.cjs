const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

module.exports = () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "small-"));
  fs.writeFileSync(path.join(folder, "a"), "kept");
  fs.renameSync(path.join(folder, "a"), path.join(folder, "b"));
  const found = fs.readFileSync(path.join(folder, "b"), "utf8");
  fs.rmSync(folder, { recursive: true });
  return found;
};
