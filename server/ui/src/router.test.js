import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

mock.timers.enable({ apis: ['setTimeout'] });
let now = 0;
mock.method(performance, 'now', () => now);
const pass = (ms) => {
  now += ms;
  mock.timers.tick(ms);
};

/** What the address bar was told, in order. */
const told = [];
const heard = {};
globalThis.location = { hash: '#/new' };
const write = (how) => (_, __, to) => {
  told.push([how, to]);
  globalThis.location.hash = to;
};
globalThis.history = { replaceState: write('replace'), pushState: write('push') };
globalThis.window = {
  addEventListener: (name, listener) => {
    heard[name] = listener;
  },
};
const { go, href, parse, route, withQuery } = await import('./router.js');

/** Of a moment in which nothing waits. */
function rest() {
  pass(1000);
  told.length = 0;
}

test('an address is a view and back', () => {
  const to = href('explore', ['a/b'], { params: '{"a":"ü&="}', live: true, view: '' });
  assert.deepEqual(parse(to), {
    view: 'explore',
    path: ['a/b'],
    query: { params: '{"a":"ü&="}', live: '1' },
  });
  assert.deepEqual(parse(''), { view: 'overview', path: [], query: {} });
});

test('what is typed is in the address at once, and in the address bar now and then', () => {
  rest();
  const text = 'a_name_of_a_metric_as_it_is_typed';
  for (let at = 1; at <= text.length; at += 1) {
    withQuery({ name: text.slice(0, at) });
    assert.equal(route.value.query.name, text.slice(0, at));
    pass(50);
  }
  assert.ok(told.length <= 6, `${told.length} changes`);
  assert.deepEqual(told[0], ['replace', '#/new?name=a']);
  pass(350);
  assert.deepEqual(told.at(-1), ['replace', `#/new?name=${text}`]);
});

test('what waits is written before a step, and when the page goes', () => {
  rest();
  withQuery({ name: 'one' });
  withQuery({ name: 'two' });
  go('#/plugins');
  assert.deepEqual(told, [
    ['replace', '#/new?name=one'],
    ['replace', '#/new?name=two'],
    ['push', '#/plugins'],
  ]);
  rest();
  withQuery({ a: 1 });
  withQuery({ a: 2 });
  heard.pagehide();
  assert.deepEqual(told.at(-1), ['replace', '#/plugins?a=2']);
});

test('what waits is not written over an address that was gone to meanwhile', () => {
  rest();
  withQuery({ a: 3 });
  withQuery({ a: 4 });
  globalThis.location.hash = '#/health';
  heard.hashchange();
  const count = told.length;
  pass(1000);
  assert.equal(told.length, count);
  assert.equal(route.value.view, 'health');
  go('#/health');
  assert.equal(told.length, count);
});
