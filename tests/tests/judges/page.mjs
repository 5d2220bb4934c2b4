// A page of an engine, as far as programs of a page need one: node page.mjs PACKAGES ADDRESS PROGRAM
// Addresses are those of the engine's origin, what is put on the console is a line of JSON, and the session is a file of the folder.
// PACKAGES is the folder with `node_modules`.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runInThisContext } from "node:vm";

const [packages, address, program] = process.argv.slice(2);
const { EventSource, WebSocket, fetch } = createRequire(`${packages}/`)("undici");
const SESSION = "session.json";
const session = existsSync(SESSION) ? JSON.parse(readFileSync(SESSION, "utf8")) : {};
const location = new URL(`http://${address}/`);
const page = {
  location,
  sessionStorage: {
    getItem: (key) => session[key] ?? null,
    setItem(key, value) {
      session[key] = String(value);
      // Whole, also when the page is left meanwhile.
      writeFileSync(`${SESSION}.new`, JSON.stringify(session));
      renameSync(`${SESSION}.new`, SESSION);
    },
  },
  WebSocket,
  fetch: (url, options) => fetch(new URL(url, location), options),
  EventSource: class extends EventSource {
    constructor(url, options) {
      super(new URL(url, location), options);
    }
  },
};
for (const [name, value] of Object.entries(page)) {
  Object.defineProperty(globalThis, name, { value });
}
console.log = (...said) => process.stdout.write(`${JSON.stringify(said)}\n`);
runInThisContext(readFileSync(program, "utf8"), { filename: program });
// A page stays until it is left.
setInterval(() => {}, 60_000);
