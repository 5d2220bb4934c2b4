import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outdated, statusState } from './status.js';

const answers = (version) => {
  statusState.value = {
    data: version === undefined ? undefined : { version },
    at: 0,
    problem: undefined,
  };
  return outdated.value;
};

test('a page is outdated while the engine has another version than the first', () => {
  assert.equal(answers(undefined), undefined);
  assert.equal(answers('1.0.0'), undefined);
  assert.equal(answers('1.0.0'), undefined);
  assert.deepEqual(answers('1.1.0'), { page: '1.0.0', engine: '1.1.0' });
  assert.equal(answers(undefined), undefined);
  assert.deepEqual(answers('2.0.0'), { page: '1.0.0', engine: '2.0.0' });
  assert.equal(answers('1.0.0'), undefined);
});
