// A server that draws from every source of random numbers that node has: once before it awaits its
// first line, and once for each line. Each line it prints is one JSON object, name -> value.
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const readline = require('node:readline');
const { Worker } = require('node:worker_threads');

const text = (path) => fs.readFileSync(path, 'utf8').trim();
const hex = (bytes) => Buffer.from(bytes).toString('hex');

function urandom() {
  const file = fs.openSync('/dev/urandom', 'r');
  const bytes = Buffer.alloc(16);
  fs.readSync(file, bytes);
  fs.closeSync(file);
  return hex(bytes);
}

function draw() {
  return {
    mathRandom: String(Math.random()),
    randomUUID: crypto.randomUUID(),
    webRandomUUID: globalThis.crypto.randomUUID(),
    randomInt: String(crypto.randomInt(2 ** 47)),
    randomBytes: hex(crypto.randomBytes(16)),
    getRandomValues: hex(globalThis.crypto.getRandomValues(new Uint8Array(16))),
    key: hex(crypto.generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' })),
    ecdh: crypto.createECDH('prime256v1').generateKeys('hex'),
    urandom: urandom(),
    bootId: text('/proc/sys/kernel/random/boot_id'),
    machineId: text('/etc/machine-id'),
  };
}

// A thread of its own has caches of its own.
const worker = new Worker(
  `const { parentPort } = require('node:worker_threads');
   const crypto = require('node:crypto');
   const draw = () => ({ workerMathRandom: String(Math.random()), workerUUID: crypto.randomUUID(),
                         workerBytes: crypto.randomBytes(16).toString('hex') });
   draw();
   parentPort.on('message', () => parentPort.postMessage(draw()));`,
  { eval: true },
);
const fromWorker = () =>
  new Promise((resolve) => {
    worker.once('message', resolve);
    worker.postMessage('draw');
  });

(async () => {
  const before = { ...draw(), ...(await fromWorker()) };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === 'before') console.log(JSON.stringify(before));
    if (line === 'draw') console.log(JSON.stringify({ ...draw(), ...(await fromWorker()) }));
    if (line === 'who') {
      console.log(JSON.stringify({ hostname: os.hostname(), clock: Date.now(), up: os.uptime() }));
    }
  }
  process.exit(0);
})();
