// Whether the numbers on a page are those of the server: at rest those of a POST of the same
// question, live those of the message that they were drawn from.
import assert from 'node:assert/strict';
import { ask, LIMIT, until } from './browser.mjs';

/** The value at a JSON pointer. */
export function at(document, pointer) {
  const keys = pointer
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
  return keys.reduce((value, key) => value?.[key], document);
}

/** The same text for the same params. */
export function canonical(value) {
  const sorted = (of) => {
    if (Array.isArray(of)) return of.map(sorted);
    if (of === null || typeof of !== 'object') return of;
    return Object.fromEntries(
      Object.keys(of)
        .sort()
        .map((key) => [key, sorted(of[key])]),
    );
  };
  return JSON.stringify(sorted(value));
}

/** The blocks that are drawn from an answer, with their numbers, as they are at one moment. */
export function blocks(page) {
  return page.evaluate(() => {
    const own = (block) =>
      [...block.querySelectorAll('data[data-at]')].filter(
        (one) => one.closest('[data-metric], [data-source]') === block,
      );
    return [...document.querySelectorAll('[data-metric], [data-source]')].map((block) => ({
      ...block.dataset,
      stale: Boolean(block.closest('.stale, .old')),
      numbers: own(block).map((one) => ({
        at: one.dataset.at,
        value: one.value,
        text: one.textContent,
      })),
    }));
  });
}

/** Waits until each metric that answers without being asked for params is drawn. */
export async function complete(page) {
  const { metrics } = await ask('api/metrics');
  const wanted = metrics
    .filter(
      (one) =>
        one.state === 'active' && (one.examples.length > 0 || !one.params_schema.required?.length),
    )
    .map((one) => one.name)
    .sort();
  await until('each metric is drawn', async () => {
    const found = new Set((await blocks(page)).filter(drawn).map((one) => one.metric));
    assert.deepEqual([...found].filter((name) => wanted.includes(name)).sort(), wanted);
    return true;
  });
}

const drawn = (block) => block.metric && block.numbers.length > 0;

/** Faults of a block's numbers against a result. */
function wrong(block, result) {
  return block.numbers
    .filter(({ at: pointer, value }) => String(at(result, pointer)) !== value)
    .map(
      ({ at: pointer, value }) =>
        `${block.metric} ${block.params} ${pointer}: ` +
        `${value} is shown, ${at(result, pointer)} is right`,
    );
}

/** Whether texts are empty where a number is meant. */
function silent(block) {
  return block.numbers
    .filter((one) => one.text.trim() === '')
    .map((one) => `${block.metric} ${one.at} shows nothing`);
}

/**
 * Waits until every number on the page equals that of a POST of the same question, and answers how
 * many there are. Nothing may be posted meanwhile; time may go on, and windows with it.
 */
export async function proved(page, least = 1, expandOf = () => undefined) {
  return until('every number equals that of a POST', async () => {
    const all = (await blocks(page)).filter(drawn);
    const faults = [];
    let count = 0;
    for (const block of all) {
      const expand = expandOf(block);
      const { result } = await ask('api/metrics', {
        name: block.metric,
        params: JSON.parse(block.params),
        ...(expand ? { expand } : {}),
      });
      faults.push(...wrong(block, result), ...silent(block));
      count += block.numbers.length;
    }
    assert.deepEqual(faults, []);
    assert.ok(count >= least, `only ${count} numbers are shown in ${all.length} blocks`);
    return count;
  });
}

/**
 * Keeps the messages that a page gets, until `limit` of them. Called before the page goes anywhere.
 */
export function tap(page, limit = 50_000) {
  const [questions, answers, statuses] = [new Map(), new Map(), new Map()];
  let heard = 0;
  page.on('websocket', (socket) => {
    socket.on('framesent', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type === 'subscribe' && message.metric)
        questions.set(message.id, `${message.metric} ${canonical(message.params ?? {})}`);
    });
    socket.on('framereceived', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type !== 'update' || answers.size >= limit) return;
      heard += 1;
      answers.set(
        `${questions.get(message.id)} ${message.meta.position} ${message.meta.as_of}`,
        message.result,
      );
    });
  });
  page.on('response', async (response) => {
    if (!new URL(response.url()).pathname.endsWith('/api/status') || response.status() !== 200)
      return;
    const status = await response.json().catch(() => undefined);
    if (status) statuses.set(status.as_of, status);
  });
  return {
    get heard() {
      return heard;
    },
    /** What a block was drawn from. */
    of(block) {
      if (block.source) return statuses.get(block.asOf);
      return answers.get(
        `${block.metric} ${canonical(JSON.parse(block.params))} ${block.position} ${block.asOf}`,
      );
    },
  };
}

/**
 * Looks at a moving page again and again: every number equals that of the message it was drawn
 * from, and the page moves on at least `moves` times. Answers how many numbers were compared.
 */
export async function provedLive(page, tapped, { moves = 10, limit = LIMIT } = {}) {
  const seen = new Set();
  const samples = [];
  await until(
    `the page moves on ${moves} times`,
    async () => {
      for (const [place, block] of (await blocks(page)).entries()) {
        if (block.numbers.length === 0) continue;
        const key = `${place} ${block.metric ?? block.source} ${block.params ?? ''} ${block.asOf}`;
        if (seen.has(key)) continue;
        seen.add(key);
        samples.push(block);
      }
      return samples.length >= moves;
    },
    limit,
  );
  let count = 0;
  for (const block of samples) {
    const result = await until(
      `a message for ${block.metric ?? block.source} of ${block.asOf}`,
      () => tapped.of(block),
      5000,
    );
    assert.deepEqual(wrong(block, result), []);
    count += block.numbers.length;
  }
  return count;
}
