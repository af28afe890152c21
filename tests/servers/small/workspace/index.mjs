// Of a workspace: what it needs lies in the folder above, where npm put it for all of them.
import { serve } from "../serve.cjs";
import { word } from "dep/sub";
serve("workspace", `${word} ${import.meta.resolve("workspace").endsWith("/workspace/index.mjs")}`);
