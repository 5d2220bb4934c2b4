import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, Problem } from './api.js';

/** @param {any} body @param {ResponseInit} [how] */
const answers = (body, how) => {
  globalThis.fetch = async () => (body instanceof Response ? body : new Response(body, how));
};
/** @param {string} path @param {any} [how] */
const refused = (path, how) =>
  ask(path, how).then(
    () => assert.fail(`${path} was taken`),
    (problem) => problem,
  );

test('an answer that is none of the server is a problem, whatever its type', async () => {
  const strangers = [
    ['<!doctype html><title>Sign in</title>', { headers: { 'content-type': 'text/html' } }],
    ['<html>', { headers: { 'content-type': 'application/json' } }],
    ['{"error":"login"}', { headers: { 'content-type': 'application/json' } }],
    ['[]', {}],
    ['null', {}],
    ['', {}],
  ];
  const asked = [
    ['api/metrics'],
    ['api/metrics', { method: 'POST', body: {} }],
    ['api/metrics/a%2Fb/versions'],
    ['api/status'],
    ['api/dead-letters?limit=20'],
    ['api/records/0/12'],
    ['api/events?limit=7'],
    ['api/plugins'],
    ['api/fields'],
    ['api/sections'],
    ['api/preview', { method: 'POST', body: {} }],
    ['api/boards'],
    ['api/users?limit=1000'],
  ];
  for (const [body, how] of strangers) {
    for (const [path, options] of asked) {
      answers(body, how);
      const problem = await refused(path, options);
      assert.equal(problem.code, 'unreadable', `${path} ${body}`);
      assert.match(problem.detail, /none of Tally's/);
    }
  }
  answers('{"metrics":{},"rejected":[]}');
  assert.match((await refused('api/metrics')).detail, /no metrics/);
});

test('what is an answer is taken, with members that are not known', async () => {
  answers('{"metrics":[],"rejected":[],"more":1}');
  assert.deepEqual((await ask('api/metrics')).data.more, 1);
  answers('{"items":[],"next":null}');
  assert.deepEqual((await ask('api/product?limit=1')).data.items, []);
  answers('{"user_id":7,"user_name":"Ada"}');
  assert.equal((await ask('api/users/7')).data.user_name, 'Ada');
  answers('a,b\n');
  assert.equal((await ask('api/metrics', { method: 'POST', accept: 'text/csv' })).data, 'a,b\n');
  answers(null, { status: 204 });
  assert.equal((await ask('api/sections/x', { method: 'DELETE' })).data, undefined);
});

test('a number that no number of the page can hold stays as it stands', async () => {
  answers('{"items":[{"event":{"order_id":1234567890123456789}}]}');
  const { data } = await ask('api/events?limit=1');
  assert.equal(data.items[0].event.order_id, '1234567890123456789');
});

test('a problem of a stranger has the kinds that a problem has', async () => {
  const bodies = [
    '{"kind":"Status","code":503,"detail":{"a":1},"errors":{"a":1},"message":"no"}',
    '{"errors":[null,7,{"pointer":1},{"pointer":"/a","detail":"b"}]}',
    '[1]',
    '"no"',
    'null',
    '<html>',
  ];
  for (const body of bodies) {
    answers(body, { status: 503, statusText: 'Away', headers: { 'retry-after': '3' } });
    const problem = await refused('api/metrics');
    assert.deepEqual(
      [problem.code, problem.detail, problem.status, problem.retryAfter],
      ['http_503', '503 Away', 503, 3],
      body,
    );
    assert.ok(
      problem.errors.every((one) => one.pointer.startsWith('') && one.detail.startsWith('')),
    );
  }
  answers(bodies[1], { status: 422 });
  const { errors } = await refused('api/metrics');
  assert.deepEqual(errors.at(-1), { pointer: '/a', detail: 'b' });
  answers('{"code":"metric_not_found","detail":"none","status":200,"suggestions":["a"]}', {
    status: 404,
  });
  const problem = await refused('api/metrics');
  assert.deepEqual(
    [problem.code, problem.detail, problem.status, problem.more.suggestions],
    ['metric_not_found', 'none', 404, ['a']],
  );
  assert.equal(new Problem(/** @type {any} */ ({ code: 1, errors: 'x' })).errors.length, 0);
});

test('a body that is cut off, or does not end in time, is no unreadable one', async () => {
  const cut = (/** @type {any} */ fault) =>
    new ReadableStream({ start: (way) => way.error(fault) });
  answers(new Response(cut(new TypeError('network'))));
  assert.equal((await refused('api/metrics')).code, 'unreachable');
  // A deadline alone keeps no process.
  const awake = setInterval(() => {}, 1000);
  globalThis.fetch = async (_, { signal }) =>
    new Response(
      new ReadableStream({
        start(way) {
          way.enqueue(new TextEncoder().encode('{"metrics":'));
          signal.addEventListener('abort', () => way.error(signal.reason));
        },
      }),
    );
  assert.equal((await refused('api/metrics', { deadline: 20 })).code, 'timeout');
  clearInterval(awake);
  const ends = new AbortController();
  const ended = refused('api/metrics', { signal: ends.signal });
  ends.abort();
  assert.equal((await ended).code, 'aborted');
});
