import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

/** @type {Fake[]} */
const sockets = [];

class Fake {
  static OPEN = 1;

  constructor(url) {
    this.url = String(url);
    this.readyState = 0;
    this.said = [];
    sockets.push(this);
  }

  send(text) {
    this.said.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen();
    this.hear({ type: 'hello', protocol: 1, position: '0:0', metrics: [] });
  }

  hear(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
}

const nothing = { addEventListener() {} };
Object.assign(globalThis, {
  WebSocket: Fake,
  window: nothing,
  document: { ...nothing, baseURI: 'http://host/below/#/events', visibilityState: 'visible' },
});
mock.timers.enable({ apis: ['setTimeout', 'Date'] });
const clock = Date.now;
mock.method(performance, 'now', () => clock());
/** What was posted, oldest first. */
const posted = [];
globalThis.fetch = async (path, { body }) => {
  posted.push(JSON.parse(body));
  return new Response(JSON.stringify({ result: posted.length, meta: { position: '0:1' } }), {
    headers: { 'content-type': 'application/json' },
  });
};
/** Lets what was promised happen. */
const settle = () =>
  new Promise((done) => {
    setImmediate(done);
  });
const { connect, connection, listen, watch } = await import('./socket.js');
connect();

const last = () => sockets.at(-1);
const reconnect = (code = 1006) => {
  last().onclose?.({ code });
  mock.timers.tick(10_000);
  last().open();
};
const subscribed = (socket = last()) => socket.said.filter((one) => one.type === 'subscribe');

beforeEach(() => {
  if (last().readyState === 0) last().open();
  else reconnect();
  last().said.length = 0;
});

test('the address is below that of the page, and begins silent', () => {
  assert.equal(last().url, 'ws://host/below/ws?events=none');
});

test('equal questions share a subscription, and a late one is answered at once', () => {
  const [one, two] = [[], []];
  const stops = [watch({ metric: 'm', params: { a: 1, b: 2 } }, (m) => one.push(m))];
  const [{ id }] = subscribed();
  last().hear({ type: 'update', id, result: 7, meta: {} });
  stops.push(watch({ metric: 'm', params: { b: 2, a: 1 } }, (m) => two.push(m)));
  assert.equal(subscribed().length, 1);
  assert.equal(two[0].answer.result, 7);
  stops[0]();
  assert.deepEqual(
    last().said.filter((m) => m.type === 'unsubscribe'),
    [],
  );
  stops[1]();
  assert.deepEqual(
    last()
      .said.filter((m) => m.type === 'unsubscribe')
      .map((m) => m.id),
    [id],
  );
});

test('after a loss everything is asked again, and a feed goes on behind its last event', () => {
  const stops = [
    watch({ metric: 'm', params: {} }, () => {}),
    listen({ event_types: ['buy'] }, () => {}),
  ];
  const feed = subscribed().find((m) => m.events);
  assert.equal(feed.since, undefined);
  last().hear({ type: 'event', id: feed.id, cursor: '0:7', position: '0:7', event: {} });
  reconnect();
  assert.deepEqual(
    subscribed().map((m) => [m.metric ?? m.events.event_types[0], m.since]),
    [
      ['m', undefined],
      ['buy', '0:7'],
    ],
  );
  for (const stop of stops) stop();
});

test('the wait grows to ten seconds at most, and a stop of the server is told from a loss', () => {
  mock.timers.tick(10_000);
  last().onclose({ code: 1006 });
  assert.equal(connection.value.state, 'reconnecting');
  for (let tries = 1; tries < 9; tries += 1) {
    const wait = connection.value.retryAt - Date.now();
    assert.ok(
      wait <= Math.min(10_000, 500 * 2 ** (tries - 1)) && wait >= 100,
      `${wait} ms before try ${tries + 1}`,
    );
    mock.timers.tick(wait);
    last().onclose({ code: 1006 });
  }
  mock.timers.tick(10_000);
  last().open();
  assert.equal(connection.value.state, 'live');
  last().onclose({ code: 1001 });
  assert.equal(connection.value.state, 'stopped');
  mock.timers.tick(10_000);
  last().onclose({ code: 1006 });
  assert.equal(connection.value.state, 'stopped');
});

test('a connection that says nothing is pinged, then given up', () => {
  const silent = last();
  mock.timers.tick(15_000);
  assert.deepEqual(silent.said, [{ type: 'ping' }]);
  silent.hear({ type: 'pong' });
  mock.timers.tick(15_000);
  mock.timers.tick(9_999);
  assert.equal(connection.value.state, 'live');
  mock.timers.tick(1);
  assert.equal(connection.value.state, 'reconnecting');
});

test('what had an error is asked again when a metric changes', () => {
  const heard = [];
  const stop = watch({ metric: 'new', params: {} }, (m) => heard.push(m));
  const [{ id }] = subscribed();
  last().hear({ type: 'error', id, code: 'metric_not_found', detail: 'none' });
  assert.equal(heard[0].error.code, 'metric_not_found');
  last().hear({ type: 'plugin', name: 'new', state: 'active' });
  mock.timers.tick(500);
  const again = subscribed().at(-1);
  assert.notEqual(again.id, id);
  last().hear({ type: 'update', id: again.id, result: 1, meta: {} });
  assert.deepEqual([heard.at(-1).answer.result, heard.at(-1).error], [1, undefined]);
  stop();
});

test('a question that is too long for a message is told so, and ends nothing', () => {
  const heard = [];
  const stops = [
    watch({ metric: 'm', params: { text: 'ä'.repeat(2100) } }, (m) => heard.push(m)),
    watch({ metric: 'm', params: { text: 'ä'.repeat(1900) } }, () => {}),
  ];
  assert.deepEqual(
    heard.map((m) => m.error.code),
    ['message_too_large'],
  );
  assert.deepEqual(
    subscribed().map((m) => m.params.text.length),
    [1900],
  );
  for (const stop of stops) stop();
});

test('what has no place on a connection is asked by POST, then gets a free one', async () => {
  const heard = [];
  const stops = Array.from({ length: 64 }, (_, n) =>
    watch({ metric: 'm', params: { n } }, () => {}),
  );
  for (const n of [64, 65]) stops.push(watch({ metric: 'm', params: { n } }, (m) => heard.push(m)));
  await settle();
  assert.deepEqual(
    posted.map((body) => body.params.n),
    [64, 65],
  );
  assert.deepEqual(
    heard.map((m) => m.answer.result),
    [1, 2],
  );
  mock.timers.tick(10_000);
  await settle();
  assert.equal(posted.length, 4);
  stops[0]();
  assert.equal(subscribed().at(-1).params.n, 64);
  mock.timers.tick(10_000);
  await settle();
  assert.deepEqual(
    posted.slice(4).map((body) => body.params.n),
    [65],
  );
  const feed = [];
  stops.push(listen({ event_types: ['buy'] }, (m) => feed.push(m)));
  assert.equal(feed[0].error.code, 'too_many');
  for (const stop of stops) stop();
});

test('a server that allows fewer is not asked for more', async () => {
  posted.length = 0;
  const stops = Array.from({ length: 6 }, (_, n) =>
    watch({ metric: 'm', params: { n } }, () => {}),
  );
  for (const { id } of subscribed().slice(4))
    last().hear({ type: 'error', id, code: 'too_many_subscriptions', detail: 'four' });
  await settle();
  assert.deepEqual(
    posted.map((body) => body.params.n),
    [4, 5],
  );
  assert.equal(subscribed().length, 6);
  for (const stop of stops) stop();
});

test('what is said is paced, and only what is still wanted is said', () => {
  const wanted = () =>
    Array.from({ length: 40 }, (_, n) => watch({ metric: 'm', params: { n } }, () => {}));
  for (let turn = 0; turn < 10; turn += 1) for (const stop of wanted()) stop();
  const stops = wanted();
  assert.equal(last().said.length, 128);
  for (let second = 1; second <= 4; second += 1) {
    mock.timers.tick(1000);
    assert.ok(last().said.length <= 128 + 40 * second, `${last().said.length} after ${second} s`);
  }
  const open = new Set();
  for (const { type, id } of last().said) {
    if (type === 'subscribe') open.add(id);
    else if (type === 'unsubscribe') assert.ok(open.delete(id));
  }
  assert.equal(open.size, 40);
  const { length } = last().said;
  mock.timers.tick(5000);
  assert.equal(last().said.length, length);
  for (const stop of stops) stop();
});

test('what has begun is left to an overloaded server, all else is asked ever more slowly', () => {
  const stops = ['begun', 'new'].map((metric) => watch({ metric, params: {} }, () => {}));
  stops.push(listen({ event_types: ['buy'] }, () => {}));
  const name = ({ metric }) => metric ?? 'feed';
  const overload = (which) =>
    last().hear({
      type: 'error',
      id: subscribed().findLast((m) => name(m) === which).id,
      code: 'overloaded',
      detail: 'full',
    });
  last().hear({ type: 'update', id: subscribed()[0].id, result: 1, meta: {} });
  const count = (which) => subscribed().filter((m) => name(m) === which).length;
  for (let tries = 1; tries < 8; tries += 1) {
    for (const which of ['begun', 'new', 'feed']) overload(which);
    overload('new');
    const wait = Math.min(60_000, 1000 * 2 ** (tries - 1));
    last().hear({ type: 'pong' });
    for (let part = 0; part < 10; part += 1) {
      mock.timers.tick((wait - 10) / 10);
      last().hear({ type: 'pong' });
    }
    assert.deepEqual([count('begun'), count('new'), count('feed')], [1, tries, tries]);
    mock.timers.tick(wait / 4 + 10);
    assert.deepEqual([count('begun'), count('new'), count('feed')], [1, tries + 1, tries + 1]);
    last().hear({ type: 'pong' });
  }
  for (const stop of stops) stop();
});

test('notices ask again what failed of their metric, once for many of them', () => {
  const stops = ['a', 'b', 'c'].map((metric) => watch({ metric, params: {} }, () => {}));
  const [a, b, c] = subscribed();
  for (const { id } of [a, b])
    last().hear({ type: 'error', id, code: 'plugin_quarantined', detail: 'no' });
  last().hear({ type: 'update', id: c.id, result: 1, meta: {} });
  last().said.length = 0;
  for (let n = 0; n < 100; n += 1)
    for (const name of ['a', 'c']) last().hear({ type: 'plugin', name, state: 'active' });
  mock.timers.tick(1000);
  assert.deepEqual(
    last().said.map((m) => [m.type, m.metric]),
    [
      ['unsubscribe', undefined],
      ['subscribe', 'a'],
    ],
  );
  for (const stop of stops) stop();
});

test('a connection that lives shortly does not begin the waits anew', () => {
  mock.timers.tick(10_000);
  const random = mock.method(Math, 'random', () => 1);
  const waits = Array.from({ length: 4 }, () => {
    last().onclose({ code: 1008 });
    const wait = connection.value.retryAt - Date.now();
    mock.timers.tick(wait);
    last().open();
    mock.timers.tick(9000);
    return wait;
  });
  assert.deepEqual(waits, [500, 1000, 2000, 4000]);
  mock.timers.tick(1000);
  last().onclose({ code: 1006 });
  assert.equal(connection.value.retryAt - Date.now(), 500);
  random.mock.restore();
});

test('a feed for which nothing has come goes on from where it began', () => {
  const heard = [];
  const stops = [watch({ metric: 'm', params: {} }, () => {})];
  last().hear({ type: 'update', id: subscribed()[0].id, result: 1, meta: { position: '0:5' } });
  stops.push(listen({ event_types: ['rare'] }, (m) => heard.push(m)));
  const feed = () => subscribed().findLast((m) => m.events);
  assert.equal(feed().since, undefined);
  reconnect();
  assert.equal(feed().since, '0:5');
  last().hear({ type: 'error', id: feed().id, code: 'position_invalid', detail: 'beyond the end' });
  assert.deepEqual(heard, [{ gap: { from: '0:5', to: '0:0' } }]);
  mock.timers.tick(2000);
  assert.equal(feed().since, undefined);
  for (const stop of stops) stop();
});

test('a feed begins at the furthest of all positions, not at that of a metric behind', () => {
  const stops = ['a', 'b', 'c'].map((metric) => watch({ metric, params: {} }, () => {}));
  const said = subscribed();
  for (const [n, position] of ['0:900,1:70', '0:1000,1:60', '0:3'].entries())
    last().hear({ type: 'update', id: said[n].id, result: 1, meta: { position } });
  stops.push(listen({ event_types: ['rare'] }, () => {}));
  reconnect();
  assert.equal(subscribed().findLast((m) => m.events).since, '0:1000,1:70');
  for (const stop of stops) stop();
});

test('a feed whose place is too long to be said goes on with what comes, and tells the gap', () => {
  const heard = [];
  const stop = listen({ event_types: ['buy'] }, (m) => heard.push(m));
  const cursor = Array.from({ length: 400 }, (_, n) => `${n}:1234567890`).join();
  const feed = () => subscribed().findLast((m) => m.events);
  last().hear({ type: 'event', id: feed().id, cursor, position: '0:7', event: {} });
  reconnect();
  assert.deepEqual([feed().events, feed().since], [{ event_types: ['buy'] }, undefined]);
  assert.deepEqual(heard.slice(1), [{ gap: { from: cursor, to: '0:0' } }]);
  assert.equal(connection.value.state, 'live');
  last().hear({ type: 'event', id: feed().id, cursor: '0:9', position: '0:9', event: {} });
  assert.equal(heard.length, 3);
  stop();
  const long = [];
  listen({ event_types: Array(200).fill('ä'.repeat(20)) }, (m) => long.push(m))();
  assert.deepEqual(
    long.map((m) => m.error?.code),
    ['message_too_large'],
  );
});

test('after large answers small ones come as asked for, without going back and forth', () => {
  const stop = watch({ metric: 'm', params: {} }, () => {});
  const interval = () => subscribed().at(-1).min_interval_ms;
  /** @param {number} kib */
  const answer = (kib) =>
    last().hear({
      type: 'update',
      id: subscribed().at(-1).id,
      result: 'x'.repeat(kib * 1024),
      meta: {},
    });
  answer(1024);
  assert.equal(interval(), 8000);
  answer(300);
  assert.equal(interval(), 4000);
  for (let n = 0; n < 5; n += 1) for (const kib of [200, 300]) answer(kib);
  assert.equal(interval(), 2000);
  const { length } = subscribed();
  for (let n = 0; n < 5; n += 1) for (const kib of [200, 300]) answer(kib);
  assert.equal(subscribed().length, length);
  answer(1);
  assert.equal(interval(), 250);
  stop();
});

test('a clock that is set back hides no silence', () => {
  const silent = last();
  mock.timers.tick(10_000);
  const back = mock.method(Date, 'now', () => clock() - 5 * 3_600_000);
  silent.hear({ type: 'pong' });
  mock.timers.tick(15_000);
  assert.deepEqual(silent.said.at(-1), { type: 'ping' });
  mock.timers.tick(10_000);
  assert.equal(connection.value.state, 'reconnecting');
  back.mock.restore();
});

test('a large answer comes less often, and is not held', () => {
  const [one, two] = [[], []];
  const stops = [watch({ metric: 'm', params: {} }, (m) => one.push(m))];
  const large = 'x'.repeat(1024 * 1024);
  assert.equal(subscribed()[0].min_interval_ms, 250);
  last().hear({ type: 'update', id: subscribed()[0].id, result: large, meta: {} });
  assert.equal(subscribed().at(-1).min_interval_ms, 8000);
  last().hear({ type: 'update', id: subscribed().at(-1).id, result: large, meta: {} });
  assert.equal(subscribed().length, 2);
  assert.ok(one.length === 2 && one[1].size > large.length);
  stops.push(watch({ metric: 'm', params: {} }, (m) => two.push(m)));
  assert.deepEqual([two.length, subscribed().length], [0, 3]);
  last().hear({ type: 'update', id: subscribed().at(-1).id, result: large, meta: {} });
  assert.equal(two[0].answer.result, large);
  for (const stop of stops) stop();
});
