import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

globalThis.document = { visibilityState: 'visible' };
mock.timers.enable({ apis: ['setTimeout'] });
/** Requests that are not answered yet. */
const open = [];
const asked = [];
globalThis.fetch = (path, { body }) =>
  new Promise((done, fail) => {
    asked.push(JSON.parse(body).name);
    open.push((status = 200) => {
      if (status === 0) return fail(new TypeError('away'));
      return done(
        new Response(JSON.stringify({ result: 1, meta: {}, code: 'full', detail: 'full' }), {
          status,
          headers: { 'content-type': 'application/json' },
        }),
      );
    });
  });
const settle = () =>
  new Promise((done) => {
    setImmediate(done);
  });
const answer = async (status) => {
  open.shift()(status);
  await settle();
};
const { askInTurn } = await import('./turns.js');

test('one is asked at a time, also after a failure; what nobody wants is not asked', async () => {
  const told = [];
  const ask = (metric, every) =>
    askInTurn(
      { metric, params: {} },
      (one) => told.push([metric, one.error?.code, one.size]),
      every,
    );
  const stops = [ask('a', 10_000), ask('b'), ask('c'), ask('d')];
  await settle();
  assert.deepEqual(asked, ['a']);
  stops[2]();
  await answer();
  assert.deepEqual(asked, ['a', 'b']);
  await answer(503);
  assert.deepEqual(asked, ['a', 'b', 'd']);
  await answer(0);
  assert.deepEqual(
    told.map(([metric, code]) => [metric, code]),
    [
      ['a', undefined],
      ['b', 'full'],
      ['d', 'unreachable'],
    ],
  );
  assert.ok(told[0][2] > 10);
  mock.timers.tick(10_000);
  await settle();
  assert.deepEqual(asked, ['a', 'b', 'd', 'a']);
  stops[0]();
  await answer();
  mock.timers.tick(100_000);
  await settle();
  assert.equal(open.length, 0);
  assert.equal(told.length, 3);
});
