import data from "../cjs/data.json" with { type: "json" };
// Loaded late, and awaited where no function is.
const { serve } = await import("../serve.cjs");
const found = await new Promise((resolve) => setTimeout(resolve, 5, "awaited"));
serve("esm", `${data.word} ${import.meta.url.startsWith("file:")} ${found}`);
