// Preloaded into node (NODE_OPTIONS) where a server is frozen once it is ready: V8 compiles the
// functions of all that is loaded at once, and keeps them. Otherwise it compiles each at its first
// call, which for most of what the first requests need comes after the freeze, in every clone.
//
// Nothing of it is left for the server to see, nor for node processes that it starts.
'use strict';

const v8 = require('node:v8');
v8.setFlagsFromString('--no-lazy');
v8.setFlagsFromString('--no-flush-bytecode');

const { NODE_OPTIONS } = process.env;
if (NODE_OPTIONS !== undefined) {
  process.env.NODE_OPTIONS = NODE_OPTIONS.replace(` --require=${__filename}`, '');
}
