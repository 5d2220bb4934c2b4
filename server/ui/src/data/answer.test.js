import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carried } from './answer.js';

const of = { metric: 'a', params: {} };
const last = { answer: { result: 1 }, of, problem: new Error('422'), busy: false };

test('the last answer of a metric stays while it is asked again, its problem does not', () => {
  assert.deepEqual(carried(last, 'a'), { answer: last.answer, of, problem: undefined, busy: true });
});

test('nothing stays of another metric, and nothing is waited for without a question', () => {
  assert.deepEqual(carried(last, 'b'), {
    answer: undefined,
    of: undefined,
    problem: undefined,
    busy: true,
    large: undefined,
  });
  assert.deepEqual(carried(last, undefined), {
    answer: undefined,
    of: undefined,
    problem: undefined,
    busy: false,
    large: undefined,
  });
});
