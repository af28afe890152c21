// As packages do whose program, written in Go or Rust, lies in a package of its own.
const { spawn } = require("node:child_process");
const path = require("node:path");
spawn(path.join(__dirname, "../node_modules/elf/build/server"), { stdio: "inherit" }).on("exit", (status) => process.exit(status ?? 1));
