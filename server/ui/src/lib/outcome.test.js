import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failedTitle, isUnknown } from './outcome.js';

test('what nobody has refused may have been done', () => {
  // Out of time, unreachable, unreadable, a fault of the server, one of what is between.
  for (const status of [0, 200, 500, 502, 503, 504]) {
    assert.equal(isUnknown({ status }), true, `${status}`);
    assert.equal(failedTitle({ status }, true), 'Outcome unknown');
    assert.equal(failedTitle({ status }, false), 'Not done');
  }
});

test('what was refused was not done', () => {
  for (const status of [400, 404, 413, 422, 429]) {
    assert.equal(isUnknown({ status }), false, `${status}`);
    assert.equal(failedTitle({ status }, true), 'Not done');
  }
  assert.equal(failedTitle({ status: 409 }, true), 'Not possible');
  assert.equal(failedTitle({ status: 409 }, false), 'Not possible');
});
