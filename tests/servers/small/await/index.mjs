const { serve } = await import("../serve.cjs");
const found = await new Promise((resolve) => setTimeout(resolve, 5, "awaited"));
serve("await", found);
