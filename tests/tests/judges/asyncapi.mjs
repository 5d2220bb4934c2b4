// Judges an AsyncAPI document, by @asyncapi/parser: node asyncapi.mjs DOCUMENT.
// It is run in the folder with `node_modules`.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const installed = createRequire(`${process.cwd()}/`);
const { Parser } = installed("@asyncapi/parser");
const { version } = installed("@asyncapi/parser/package.json");

const text = readFileSync(process.argv[2], "utf8");
const { document, diagnostics } = await new Parser().parse(text);
// 0: error, 1: warning. Below that are suggestions, such as a license that the document should name.
const faults = diagnostics.filter((one) => one.severity <= 1);
for (const one of faults) {
  console.error(`/${one.path.join("/")}: ${one.message} (${one.code})`);
}
if (faults.length > 0 || !document) process.exit(1);
if (!document.version().startsWith("3.")) {
  console.error(`/asyncapi: ${document.version()} is not 3`);
  process.exit(1);
}
console.log(`verdict: @asyncapi/parser ${version}: ${document.messages().length} messages`);
