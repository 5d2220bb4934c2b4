import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

mock.timers.enable({ apis: ['Date'] });
const asked = [];
let known = {};
globalThis.fetch = async (path) => {
  asked.push(path);
  const name = known[path];
  const body = name ? { user_id: 7, user_name: name } : { code: 'user_not_found', detail: 'none' };
  return new Response(JSON.stringify(body), { status: name ? 200 : 404, headers: { 'content-type': 'application/json' } });
};
const { nameOf } = await import('./names.js');

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
