import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

mock.timers.enable({ apis: ['Date'] });
mock.method(performance, 'now', () => Date.now());
const asked = [];
let known = {};
/** Rows of the catalogue; a page has a thousand. */
let rows = 0;
globalThis.fetch = async (path) => {
  asked.push(path);
  const { pathname, searchParams } = new URL(path, 'http://host/');
  if (pathname === '/api/product') {
    const from = Number(searchParams.get('cursor') ?? 0);
    const to = Math.min(rows, from + Number(searchParams.get('limit')));
    const items = Array.from({ length: to - from }, (_, at) => ({
      product_id: from + at,
      product_name: `Shoe ${from + at}`,
    }));
    return Response.json({ items, next: to < rows ? String(to) : null });
  }
  const name = known[path];
  const body = name ? { user_id: 7, user_name: name } : { code: 'user_not_found', detail: 'none' };
  return new Response(JSON.stringify(body), {
    status: name ? 200 : 404,
    headers: { 'content-type': 'application/json' },
  });
};
const { nameOf, search } = await import('./names.js');

test('a name, and that there is none, are kept for a minute', async () => {
  assert.equal(await nameOf('user', 7), undefined);
  known = { 'api/users/7': 'Ada' };
  mock.timers.tick(59_999);
  assert.equal(await nameOf('user', 7), undefined);
  assert.equal(asked.length, 1);
  mock.timers.tick(1);
  assert.equal(await nameOf('user', 7), 'Ada');
  known = { 'api/users/7': 'Ada L.' };
  assert.equal(await nameOf('user', 7), 'Ada');
  mock.timers.tick(60_000);
  assert.equal(await nameOf('user', 7), 'Ada L.');
  assert.equal(asked.length, 3);
});

test('what a search leaves out is said', async () => {
  rows = 30;
  const { found, left } = await search('product', 'shoe');
  assert.deepEqual([found.length, left], [20, 'the first 20: type more']);
  assert.deepEqual(await search('product', 'SHOE 2'), {
    found: [2, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29].map((id) => ({ id, name: `Shoe ${id}` })),
    left: '',
  });
  mock.timers.tick(60_000);
  rows = 6000;
  known = { 'api/product/5500': 'unseen' };
  const beyond = await search('product', 'Shoe 5500');
  assert.deepEqual(beyond.found, []);
  assert.match(beyond.left, /first 5,000; an id can be typed whole/);
  assert.equal((await search('product', '5500')).found[0].id, 5500);
  assert.match((await search('product', 'shoe')).left, /first 20.*5,000/);
});
