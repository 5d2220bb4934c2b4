import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

/** @type {(() => void)[]} */
let seen = [];
globalThis.document = {
  visibilityState: 'visible',
  addEventListener: (_, listener) => seen.push(listener),
  removeEventListener() {},
};
mock.timers.enable({ apis: ['setTimeout', 'Date'] });
mock.method(performance, 'now', () => Date.now());
/** What is asked, and what answers it. */
const asked = [];
let reply = () => Response.json({});
globalThis.fetch = async (path, how) => {
  asked.push({ path, ...how });
  return reply(how);
};
const settle = () =>
  new Promise((done) => {
    setImmediate(done);
  });
const pass = async (ms) => {
  mock.timers.tick(ms);
  await settle();
};
const { patience, polled } = await import('./poll.js');
const full = (after) => () =>
  Response.json(
    { code: 'overloaded', detail: 'full' },
    { status: 503, headers: after ? { 'retry-after': after } : {} },
  );

beforeEach(() => {
  asked.length = 0;
  seen = [];
  document.visibilityState = 'visible';
  reply = () => Response.json({ n: asked.length });
});

test('a busy server is asked ever more slowly, and not before it says', async () => {
  reply = full();
  const { value, start } = polled('x', 0);
  const stop = start();
  await pass(0);
  for (const wait of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
    const { length } = asked;
    await pass(wait - 1);
    assert.equal(asked.length, length);
    await pass(1);
    assert.equal(asked.length, length + 1);
  }
  assert.ok(value.value.busy && value.value.problem.code === 'overloaded');
  reply = full('7');
  await pass(60_000);
  assert.equal(value.value.problem.retryAfter, 7);
  reply = () => Response.json({ n: 1 });
  await pass(60_000);
  assert.deepEqual([value.value.data, value.value.busy], [{ n: 1 }, false]);
  const { length } = asked;
  await pass(100_000);
  assert.equal(asked.length, length);
  stop();
  assert.deepEqual(
    [patience(0), patience(0, 7), patience(9), patience(0, 9999)].map(Number),
    [1000, 7000, 60_000, 60_000],
  );
});

test('however often it is told to ask, two requests are half a second apart', async () => {
  const { again, start } = polled('x', 10_000);
  const stop = start();
  await pass(0);
  for (let n = 0; n < 1000; n += 1) {
    again();
    await pass(2);
  }
  assert.deepEqual(asked.length, 5);
  await pass(500);
  const { length } = asked;
  await pass(9_000);
  assert.equal(asked.length, length);
  again();
  await pass(0);
  assert.equal(asked.length, length + 1);
  stop();
});

test('told while it is asked, it is asked once more; what is ended says nothing', async () => {
  let answer = () => {};
  reply = () =>
    new Promise((done) => {
      answer = () => done(Response.json({ n: asked.length }));
    });
  const { value, again, start } = polled('x', 10_000);
  const stop = start();
  await pass(0);
  again();
  again();
  await pass(600);
  assert.equal(asked.length, 1);
  answer();
  await settle();
  await pass(0);
  assert.equal(asked.length, 2);
  stop();
  assert.ok(asked[1].signal.aborted);
  answer();
  await settle();
  await pass(100_000);
  assert.deepEqual([asked.length, value.value.data], [2, { n: 1 }]);
});

test('it is asked while the page is seen, and not while it is held', async () => {
  let still = false;
  const { start } = polled('x', 2000, { held: () => still });
  const stop = start();
  await pass(0);
  await pass(2000);
  assert.equal(asked.length, 2);
  still = true;
  await pass(10_000);
  assert.equal(asked.length, 2);
  still = false;
  await pass(2000);
  assert.equal(asked.length, 3);
  document.visibilityState = 'hidden';
  await pass(2000);
  await pass(20_000);
  const { length } = asked;
  document.visibilityState = 'visible';
  for (const told of seen) told();
  await settle();
  assert.equal(asked.length, length + 1);
  stop();
});

test('what has not changed stays the same value; a body is posted, always anew', async () => {
  reply = ({ headers }) =>
    headers['if-none-match'] === 'a'
      ? new Response(null, { status: 304, headers: { etag: 'a' } })
      : Response.json({ n: 1 }, { headers: { etag: 'a' } });
  const { value, again, start } = polled('x', 1000);
  const stop = start();
  await pass(0);
  const { data } = value.value;
  await pass(1000);
  assert.ok(asked.length === 2 && value.value.data === data && value.value.at === Date.now());
  stop();
  again();
  await pass(10_000);
  assert.equal(asked.length, 2);
  const posted = polled('x', 1000, { body: { a: 1 }, pause: 300 });
  const end = posted.start();
  await pass(299);
  assert.equal(asked.length, 2);
  await pass(1);
  await pass(1000);
  assert.deepEqual(
    asked.slice(2).map((one) => [one.method, one.body, one.headers['if-none-match']]),
    [
      ['POST', '{"a":1}', undefined],
      ['POST', '{"a":1}', undefined],
    ],
  );
  assert.deepEqual(posted.value.value.of, { a: 1 });
  end();
});
