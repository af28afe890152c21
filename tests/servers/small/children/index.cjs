const { execFileSync, fork } = require("node:child_process");
const { serve } = require("../serve.cjs");
const bash = execFileSync("bash", ["-c", "a=(one two); echo ${a[1]}"]).toString().trim();
const child = fork(__filename.replace("index", "child"));
child.once("message", (word) => serve("children", `${bash} ${word}`));
