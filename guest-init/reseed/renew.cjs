// Preloaded into node (NODE_OPTIONS): in a clone, JavaScript's own stores of random numbers are
// renewed before the first of them is handed out. renew.so reseeds OpenSSL itself.
//
//   Math.random          V8's generator cannot be reseeded: replaced by a store of our own
//   crypto.randomUUID    node draws 128 at a time and keeps them: the rest is thrown away
//   crypto.randomInt     node keeps 6 KiB of random bytes: the rest is thrown away
'use strict';

const renew = { exports: {} };
try {
  process.dlopen(renew, '/usr/lib/thimble/renew.so');
} catch {
  // Not in a guest of thimble's.
}

if (renew.exports.generation) {
  const crypto = require('node:crypto');
  const generation = new Uint32Array(renew.exports.generation);
  const { randomFillSync, randomUUID, randomInt } = crypto;
  const kUuidsKept = 128;
  const kIntsKept = 1024; // 6 bytes each

  let low = generation[0];
  let high = generation[1];
  const stale = { numbers: false, uuids: false, ints: false };

  function look() {
    if (generation[0] === low && generation[1] === high) return;
    low = generation[0];
    high = generation[1];
    stale.numbers = stale.uuids = stale.ints = true;
  }

  // 53 random bits each, as V8's: a multiple of 2**-53 in [0, 1).
  const words = new Uint32Array(256);
  let next = words.length;
  Math.random = function random() {
    look();
    if (stale.numbers || next === words.length) {
      randomFillSync(words);
      next = 0;
      stale.numbers = false;
    }
    const top = words[next] >>> 5;
    const bottom = words[next + 1] >>> 6;
    next += 2;
    return (top * 0x4000000 + bottom) / 0x20000000000000;
  };
  Object.defineProperty(Math, 'random', { enumerable: false });

  crypto.randomUUID = function (options) {
    look();
    if (stale.uuids) {
      stale.uuids = false;
      for (let i = 0; i < kUuidsKept; ++i) randomUUID();
    }
    return randomUUID(options);
  };
  crypto.randomInt = function (...range) {
    look();
    if (stale.ints) {
      stale.ints = false;
      for (let i = 0; i < kIntsKept; ++i) randomInt(2);
    }
    return randomInt(...range);
  };
  Object.defineProperty(crypto.webcrypto, 'randomUUID', {
    configurable: true,
    enumerable: true,
    writable: true,
    value: function () {
      return crypto.randomUUID();
    },
  });
  require('node:module').syncBuiltinESMExports();
}
