import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oneWindow, ranged, spanOf, stepFor } from './ranges.js';

const steps = ['1m', '5m', '15m', '1h', '6h', '1d'];
const tiers = [
  { pane: '1m', keep: '48h' },
  { pane: '1h', keep: '90d' },
  { pane: '1d', keep: 'all' },
];
const HOUR = 3_600_000;
const now = Date.parse('2026-03-01T12:00:00Z');
const back = (hours) => now - hours * HOUR;

test('a step is fine enough to see, held that far back, and not too many', () => {
  const of = (hours) => stepFor(steps, back(hours), now, tiers, now);
  assert.deepEqual([1, 3, 4, 24, 49, 24 * 30, 24 * 400].map(of), [
    '1m',
    '1m',
    '5m',
    '15m',
    '1h',
    '6h',
    '1d',
  ]);
  assert.equal(stepFor(steps, back(50), back(49), tiers, now), '1h');
  assert.equal(stepFor(steps, back(24 * 4000), now, tiers, now), '1d');
  assert.equal(stepFor([], back(1), now, tiers, now), undefined);
  assert.equal(stepFor([...steps, '1w', '1mo'], back(24 * 4000), now, tiers, now), '1mo');
});

test('a chosen range takes the place of the window, and nothing else', () => {
  const params = { window: '24h', bucket: '15m', limit: 3 };
  assert.deepEqual(ranged(params, back(10), back(5), steps, tiers, now), {
    bucket: '15m',
    limit: 3,
    from: '2026-03-01T02:00:00.000Z',
    to: '2026-03-01T07:00:00.000Z',
  });
  assert.equal(params.window, '24h');
});

test('few steps become finer, never coarser than they were', () => {
  assert.equal(ranged({ bucket: '1h' }, back(2), now, steps, tiers, now).bucket, '1m');
  assert.equal(ranged({ bucket: '15m' }, back(60), back(59), steps, tiers, now).bucket, '15m');
  assert.equal(ranged({}, back(2), now, steps, tiers, now).bucket, undefined);
});

test('the span of an answer ends with it, and begins with its window or history', () => {
  const meta = { position: '0:1', version: '1', as_of: new Date(now).toISOString() };
  assert.deepEqual(
    spanOf({
      ...meta,
      window: { from: new Date(back(2)).toISOString(), to: new Date(back(1)).toISOString() },
    }),
    [back(2), back(1)],
  );
  assert.deepEqual(
    spanOf({ ...meta, history: { state: 'complete', from: new Date(back(3)).toISOString() } }),
    [back(3), now],
  );
  assert.deepEqual(spanOf(meta), [back(24), now]);
});

test('a length and a start are never both stated: the newer one stays', () => {
  assert.deepEqual(oneWindow({ window: '1h', from: '' }, { window: '1h', from: '2' }), {
    window: '',
    from: '2',
  });
  assert.deepEqual(oneWindow({ window: '', from: '2' }, { window: '1h', from: '2', to: '3' }), {
    window: '1h',
    from: '',
    to: '',
  });
  assert.deepEqual(oneWindow({}, { window: '1h', to: 'x' }), { window: '1h', to: 'x' });
});
