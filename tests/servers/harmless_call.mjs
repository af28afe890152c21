// One call to a server of strangers that changes nothing: a tool that says it only reads, or is called
// so, with the least that its schema asks for. Guests and this machine have no network here, and the
// server's user owns nothing.
const READS = /^(?:[a-z0-9]+[_-])*?(?:list|get|read|search|find|describe|query|fetch|show|view|lookup|info|status)(?:$|[_A-Z-])/;

function only(values) {
  return values.find((value) => value !== undefined);
}

// The smallest value of a JSON schema; a server may still refuse it, the same way everywhere.
export function smallest(schema = {}, depth = 0) {
  if (depth > 5) return {};
  const given = only([schema.const, schema.default, schema.enum?.[0], schema.examples?.[0]]);
  if (given !== undefined) return given;
  const branch = schema.anyOf?.[0] ?? schema.oneOf?.[0] ?? schema.allOf?.[0];
  if (branch) return smallest(branch, depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "string":
      return /^ur[il]/.test(schema.format ?? "") ? "http://127.0.0.1:1/" : "x".repeat(Math.min(schema.minLength ?? 1, 64));
    case "integer":
    case "number":
      return schema.minimum ?? (schema.exclusiveMinimum ?? 0) + 1;
    case "boolean":
      return false;
    case "array":
      return schema.minItems > 0 ? [smallest(schema.items, depth + 1)] : [];
    default:
      return Object.fromEntries((schema.required ?? []).map((name) => [name, smallest(schema.properties?.[name], depth + 1)]));
  }
}

// [name, arguments], or nothing where no tool looks harmless.
export function harmlessCall(toolsLine) {
  const tools = JSON.parse(toolsLine).result?.tools ?? [];
  const reads = (tool) => tool.annotations?.readOnlyHint ?? READS.test(tool.name);
  const cost = (tool) => tool.inputSchema?.required?.length ?? 0;
  const [tool] = tools.filter((one) => reads(one) && one.annotations?.destructiveHint !== true).sort((a, b) => cost(a) - cost(b));
  return tool && [tool.name, smallest(tool.inputSchema)];
}
