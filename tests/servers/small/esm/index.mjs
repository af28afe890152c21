import { serve } from "../serve.cjs";
import data from "../cjs/data.json" with { type: "json" };
serve("esm", `${data.word} ${import.meta.url.startsWith("file:")}`);
