import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wholeStatus } from './status.js';

test('what an engine leaves out is empty, what it says stays', () => {
  const made = wholeStatus({
    version: '2.0.0',
    rate: { events_per_s: 5 },
    threads: [{ name: 'a', count: 1 }],
    memory: { limit: 8 },
    later: 1,
  });
  assert.deepEqual(
    [made.version, made.rate.events_per_s, made.threads.length, made.memory.limit, made.later],
    ['2.0.0', 5, 1, 8, 1],
  );
  assert.deepEqual(
    [made.readiness, made.partitions, made.metrics, made.limits_hit],
    [[], [], [], []],
  );
  assert.deepEqual([made.lag, made.log, made.store, made.memory.state], [{}, {}, {}, {}]);
});

test('a status of another shape is an empty one', () => {
  for (const found of [undefined, null, 'up', [], { threads: null, lag: 3, memory: [] }]) {
    const { threads, lag, memory } = wholeStatus(found);
    assert.deepEqual([threads, lag, memory], [[], {}, { state: {}, answers: {}, sockets: {} }]);
  }
});
