// As packages do that bring a program written in Go or Rust.
const { spawn } = require("node:child_process");
const path = require("node:path");
spawn(path.join(__dirname, "build/server"), { stdio: "inherit" }).on("exit", (status) => process.exit(status ?? 1));
