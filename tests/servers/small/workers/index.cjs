const { Worker } = require("node:worker_threads");
const { serve } = require("../serve.cjs");
const worker = new Worker("require('node:worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
worker.once("message", (found) => serve("workers", found));
