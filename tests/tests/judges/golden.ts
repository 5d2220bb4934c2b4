// Asks by a client that openapi-generator made: node out/golden.js BASE CASES, with the text of the cases.
// `operation.ts` names the operation of `POST /api/metrics`.
import { Configuration, ResponseError } from "./client/index.js";
import { Api, ask } from "./operation.js";

declare const process: { argv: string[] };

type Question = Parameters<Api[typeof ask]>[0];

interface Case {
  name: string;
  params: object;
  result: object;
  warnings: string[];
}

// Members in one order, and times as text again.
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([key, of]) => [key, sorted(of)]));
}

function text(value: unknown): string {
  return JSON.stringify(sorted(JSON.parse(JSON.stringify(value))));
}

const [basePath, file] = process.argv.slice(2);
const cases: Case[] = JSON.parse(file ?? "").cases;
const api = new Api(new Configuration({ basePath }));
for (const { name, params, result, warnings } of cases) {
  const answer = await api[ask]({ name, params } as Question);
  const said = text([answer.result, answer.warnings.map((warning) => warning.code)]);
  const wanted = text([result, warnings]);
  if (said !== wanted) {
    throw new Error(`${name} ${JSON.stringify(params)} is read as\n${said}\nand not as\n${wanted}`);
  }
}
const refused = { name: "products_popularity", params: { limit: 0 } } as Question;
const fault: unknown = await api[ask](refused).catch((fault: unknown) => fault);
if (!(fault instanceof ResponseError) || fault.response.status !== 422) {
  throw new Error(`a limit of 0 was not refused: ${fault}`);
}
console.log(`asked: ${cases.length + 1}`);
