import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentSince } from './silence.js';

const usual = { connected: true, at: 10_000, seenSince: 0, now: 12_000 };

test('an engine is silent once an answer is overdue, since its last one', () => {
  assert.equal(silentSince(usual), undefined);
  assert.equal(silentSince({ ...usual, now: 15_000 }), undefined);
  assert.equal(silentSince({ ...usual, now: 15_001 }), 10_000);
});

test('nothing is due from a connection that is lost, or was never answered', () => {
  assert.equal(silentSince({ ...usual, now: 60_000, connected: false }), undefined);
  assert.equal(silentSince({ ...usual, now: 60_000, at: undefined }), undefined);
});

test('a page that was hidden waits again for an answer', () => {
  assert.equal(silentSince({ ...usual, now: 60_000, seenSince: 58_000 }), undefined);
  assert.equal(silentSince({ ...usual, now: 64_000, seenSince: 58_000 }), 10_000);
});
