const { serve } = require("../serve.cjs");
serve("cjs", require("./data.json").word + " " + typeof __filename);
