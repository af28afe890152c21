const { serve } = require("../serve.cjs");
serve("addon", require("./build/addon.node").answer);
