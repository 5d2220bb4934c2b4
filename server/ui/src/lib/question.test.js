import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import {
  answerPath,
  asked,
  bodyOf,
  canonical,
  firstQuestion,
  keyOf,
  recentQuestion,
} from './question.js';

test('equal questions have one text', () => {
  assert.equal(
    canonical({ b: 1, a: { d: [1, { y: 1, x: 2 }], c: null } }),
    '{"a":{"c":null,"d":[1,{"x":2,"y":1}]},"b":1}',
  );
  assert.equal(
    keyOf({ metric: 'm', params: { a: 1, b: 2 } }),
    keyOf({ metric: 'm', params: { b: 2, a: 1 }, expand: [] }),
  );
  assert.notEqual(
    keyOf({ metric: 'm', params: {} }),
    keyOf({ metric: 'm', params: {}, expand: ['names'] }),
  );
});

test('a question is a body and an address', () => {
  assert.deepEqual(bodyOf({ metric: 'm', params: { a: 1 }, expand: ['names'] }), {
    name: 'm',
    params: { a: 1 },
    expand: ['names'],
  });
  assert.equal(
    answerPath({ metric: 'm', params: { q: 'a&b' }, expand: ['names'] }),
    'api/metrics/m/answer?params=%7B%22q%22%3A%22a%26b%22%7D&expand=names',
  );
});

const nasty = {
  metric: 'm',
  params: { t: `it's "$(x)" \\ \u202e é`, yes: true, none: null, list: [1, false] },
};

test('commands are safe in a shell, and say the question', () => {
  const { curl, websocket, sse } = asked(nasty, 'http://127.0.0.1:8080/#/explore/m');
  const said = (command) =>
    execFileSync(
      'sh',
      [
        '-c',
        `curl() { printf '%s\\n' "$@"; }; websocat() { cat; printf '%s\\n' "$@"; }; ${command}`,
      ],
      { encoding: 'utf8' },
    )
      .trim()
      .split('\n');
  assert.deepEqual(JSON.parse(said(curl).at(-1)), bodyOf(nasty));
  const [message, , address] = said(websocket);
  assert.equal(JSON.parse(message).metric, 'm');
  assert.equal(address, 'ws://127.0.0.1:8080/ws?events=none');
  const url = new URL(said(sse).at(-1));
  assert.equal(url.pathname, '/api/metrics/m/stream');
  assert.deepEqual(JSON.parse(url.searchParams.get('params')), nasty.params);
});

test('the program in Python reads as one, with the same question', () => {
  const { python } = asked(nasty, 'http://127.0.0.1:8080/');
  const tail = [
    'import sys',
    'text = sys.stdin.read()',
    'head = text.split("request = ")[0]',
    'scope = {}',
    'exec(head, scope)',
    'print(scope["question"])',
  ].join('\n');
  const found = execFileSync('python3', ['-c', tail], { input: python, encoding: 'utf8' });
  assert.deepEqual(JSON.parse(found), bodyOf(nasty));
});

test('the program in TypeScript has the question as a literal', () => {
  const { typescript } = asked(nasty, 'http://127.0.0.1:8080/');
  const literal = typescript.split('JSON.stringify(')[1].split('),\n});')[0];
  assert.deepEqual(JSON.parse(literal), bodyOf(nasty));
});

test('what is asked at first is an example that suits the schema, else nothing special', () => {
  const base = {
    name: 'm',
    params_schema: { properties: { a: {} } },
    result_schema: {},
    examples: [{ params: { gone: 1 } }, { params: { a: 1 } }],
  };
  assert.deepEqual(firstQuestion(base), { metric: 'm', params: { a: 1 } });
  assert.deepEqual(firstQuestion({ ...base, examples: [] }), { metric: 'm', params: {} });
  assert.equal(
    firstQuestion({
      ...base,
      examples: [],
      params_schema: { required: ['a'], properties: { a: {} } },
    }),
    undefined,
  );
  assert.deepEqual(
    firstQuestion({
      ...base,
      examples: [],
      result_schema: { properties: { id: { 'x-tally-id': 'user' } } },
    }).expand,
    ['names'],
  );
});

test('the last hours of a question keep its other params', () => {
  assert.deepEqual(
    recentQuestion({ metric: 'm', params: { user_id: 1, from: 'x', to: 'y', bucket: '1d' } })
      .params,
    { user_id: 1, window: '2h', bucket: '1m' },
  );
});
