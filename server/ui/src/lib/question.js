// A question to a metric: the one text that stands for it, and how it is asked elsewhere.
//
// Equal questions have equal texts, whatever the order of their keys. The commands can be pasted:
// everything in them is quoted for the shell or the language.

/** @import {Descriptor, Params, Question} from '../types' */

/** @param {any} value @returns {any} */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}

/** JSON with sorted keys. @param {any} value */
export function canonical(value) {
  return JSON.stringify(sorted(value ?? {}));
}

/** @param {Question} question */
export function keyOf({ metric, params, expand = [] }) {
  return `${metric} ${canonical(params)} ${[...expand].sort().join(',')}`;
}

/** Whether a schema marks ids, so that names can be asked for. @param {any} schema */
export function hasIds(schema) {
  return JSON.stringify(schema ?? {}).includes('"x-tally-id"');
}

/**
 * Whether params have what a schema requires, and nothing that it does not know.
 * @param {any} schema
 * @param {Params} params
 */
function suits(schema, params) {
  const known = schema?.properties ?? {};
  const required = Array.isArray(schema?.required) ? schema.required : [];
  return (
    required.every((/** @type {string} */ key) => params[key] !== undefined) &&
    Object.keys(params).every((key) => Object.hasOwn(known, key))
  );
}

/**
 * What is asked of a metric without a person: its first example that suits its schema, else nothing
 * in particular; `undefined` where something must be chosen.
 * @param {Descriptor} descriptor @returns {Question | undefined}
 */
export function firstQuestion({ name, params_schema: schema, result_schema: result, examples }) {
  const params = [...examples.map((example) => example.params ?? {}), {}].find((one) =>
    suits(schema, one),
  );
  return params && { metric: name, params, ...(hasIds(result) ? { expand: ['names'] } : {}) };
}

/**
 * The same question over the last two hours, minute by minute.
 * @param {Question} question @returns {Question}
 */
export function recentQuestion({ metric, params }) {
  const { window: _, from: __, to: ___, bucket: ____, ...others } = params;
  return { metric, params: { ...others, window: '2h', bucket: '1m' } };
}

/** The body of a POST. @param {Question} question */
export function bodyOf({ metric, params, expand }) {
  return { name: metric, params: sorted(params ?? {}), ...(expand?.length ? { expand } : {}) };
}

/**
 * Address of the same answer as a GET, relative to the page.
 * @param {Question} question
 */
export function answerPath({ metric, params, expand }) {
  const query = new URLSearchParams({ params: canonical(params) });
  if (expand?.length) query.set('expand', expand.join(','));
  return `api/metrics/${encodeURIComponent(metric)}/answer?${query}`;
}

/** A word for a POSIX shell. @param {string} text */
function shell(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The question as a command or a program, by language.
 * @param {Question} question @param {string} base address of the page
 */
export function asked(question, base) {
  const { metric, params, expand } = question;
  const at = (/** @type {string} */ path) => new URL(path, base).href;
  const socket = at('ws').replace(/^http/, 'ws');
  const body = JSON.stringify(bodyOf(question));
  const message = JSON.stringify({
    type: 'subscribe',
    id: 'a',
    metric,
    params: sorted(params ?? {}),
    ...(expand?.length ? { expand } : {}),
  });
  const stream = at(answerPath(question).replace('/answer?', '/stream?'));
  return {
    curl: `curl -s ${shell(at('api/metrics'))} \\\n  --json ${shell(body)}`,
    websocket:
      `printf '%s\\n' ${shell(message)} |\n` +
      `  websocat --no-close ${shell(`${socket}?events=none`)}`,
    sse: `curl -sN ${shell(stream)}`,
    python: python(at('api/metrics'), bodyOf(question)),
    typescript: typescript(at('api/metrics'), bodyOf(question)),
  };
}

/**
 * JSON has no three quotes in a row, and does not end with a backslash: it stands in raw quotes.
 * @param {string} url @param {object} body
 */
function python(url, body) {
  return `import json
import urllib.request

question = r"""${JSON.stringify(body, null, 2)}"""
request = urllib.request.Request(
    ${JSON.stringify(url)},
    data=question.encode(),
    headers={"content-type": "application/json"},
)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)
print(answer["result"])
`;
}

/** @param {string} url @param {object} body */
function typescript(url, body) {
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll('\n', '\n  ')}),
});
if (!response.ok) throw new Error(await response.text());
const { result } = await response.json();
console.log(result);
`;
}
