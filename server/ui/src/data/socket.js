// What is said on the one WebSocket: questions that are watched, events that are listened to,
// notices.
//
// Equal questions share a subscription. After a loss everything is asked again, and feeds go on
// behind their last event, or from where they began. What was answered before stays; the watchers
// see by `connection` that it is old. Questions for which the connection has no place are asked by
// POST every ten seconds. Large answers come less often. The server tries by itself what it has
// begun: only what has not begun is asked again here, at growing intervals.

import { canonical, keyOf } from '../lib/question.js';
import { answered, byId, fail, forget, LARGE, refuse, rename, tell, topicOf } from './topics.js';
import { askInTurn } from './turns.js';
import { connection, opened, say, serve } from './wire.js';
import { furthest } from '../lib/position.js';

/** @import {Question} from '../types' */
/** @import {FeedMessage, OnAnswer, Topic} from './topics.js' */

export { connect, connection, retryNow } from './wire.js';

/** What could not begin is asked again after this time, doubled each time. */
const [AGAIN_MS, AGAIN_MOST_MS] = [1000, 60_000];
/** Notices of metrics are gathered so long. */
const GATHER_MS = 500;
/** So many subscriptions the server allows a connection, and so many bytes a message. */
const [MOST, LONGEST] = [64, 4096];
const POLL_MS = 10_000;
/**
 * Milliseconds between answers, for each `LARGE` of one; the server takes no longer ones than the
 * second.
 */
const [SLOW_MS, SLOWEST_MS] = [1000, 60_000];

/** @typedef {import('./topics.js').Failure} Failure */
/**
 * @typedef {{ event_types?: string[], user_id?: number | string,
 *   product_id?: number | string }} Filter
 */

/** Subscriptions that are to be ended. @type {Set<string>} */
const ending = new Set();
/** @type {Set<(notice: { name: string, state: string, [key: string]: any }) => void>} */
const onNotice = new Set();
/** @type {Set<() => void>} */
const onOpen = new Set();
/** Metrics that have changed. @type {Set<string>} */
const changed = new Set();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let gathering;

let feeds = 0;
let most = MOST;
/** The furthest position that the server has named on this connection. */
let position = '';

/** What has no place is asked by POST. @param {Topic} topic */
function withoutPlace(topic) {
  if (!topic.question)
    return refuse(
      topic,
      'too_many',
      `more than ${most} questions are watched on this page: close some of them`,
    );
  topic.unasked ??= askInTurn(
    topic.question,
    ({ answer, size = 0, error }) => {
      if (answer) answered(topic, answer, size);
      else if (error) fail(topic, error);
    },
    POLL_MS,
  );
  return undefined;
}

/** The feed goes on with what comes. @param {Topic} topic */
function skip(topic) {
  tell(topic, { gap: { from: topic.cursor, to: position } });
  topic.cursor = undefined;
}

/** Whether it would end the connection. @param {object} message */
const isLong = (message) => new TextEncoder().encode(JSON.stringify(message)).length > LONGEST;

/** @param {Topic} topic */
function messageOf({ id, said, question, interval, cursor }) {
  return {
    type: 'subscribe',
    id,
    ...said,
    ...(question ? { min_interval_ms: interval } : cursor ? { since: cursor } : {}),
  };
}

/** Says what is to be said, as far as pace and places allow. */
function speak() {
  if (connection.value.state !== 'live') return;
  for (const id of ending) {
    if (!say({ type: 'unsubscribe', id })) return;
    ending.delete(id);
  }
  let sent = [...byId.values()].filter((topic) => topic.sent).length;
  for (const topic of byId.values()) {
    if (topic.sent || topic.timer !== undefined) continue;
    if (topic.cursor && isLong(messageOf(topic))) skip(topic);
    const message = messageOf(topic);
    if (isLong(message)) {
      refuse(
        topic,
        'message_too_large',
        `the question is longer than the ${LONGEST / 1024} KiB that can be watched: ` +
          'ask it fixed, or for less',
      );
      continue;
    }
    if (sent >= most) {
      withoutPlace(topic);
      continue;
    }
    if (!say(message)) return;
    topic.unasked?.();
    topic.unasked = undefined;
    topic.sent = true;
    // What comes from here on is not lost with the connection, though nothing may have come until
    // then.
    if (!topic.question) topic.cursor ??= position;
    sent += 1;
  }
}

/** @param {Topic} topic */
function unsubscribe(topic) {
  if (topic.sent) ending.add(topic.id);
  topic.sent = topic.begun = false;
}

/**
 * Asks again under another id: an error may have ended the subscription, or not.
 * @param {Topic} topic
 */
function renew(topic) {
  clearTimeout(topic.timer);
  topic.timer = undefined;
  unsubscribe(topic);
  rename(topic);
  speak();
}

/** Asks again by and by. @param {Topic} topic */
function later(topic) {
  if (topic.timer !== undefined) return;
  const wait = Math.min(AGAIN_MOST_MS, AGAIN_MS * 2 ** topic.tries) * (1 + Math.random() / 4);
  topic.tries = Math.min(topic.tries + 1, 10);
  topic.timer = setTimeout(() => renew(topic), wait);
}

/** Metrics that were not there, or could not answer, may be other ones. */
function reconsider() {
  gathering = undefined;
  for (const topic of [...byId.values()]) {
    if (topic.last?.error && topic.question && changed.has(topic.question.metric)) renew(topic);
  }
  changed.clear();
}

/** Milliseconds between answers of a size. @param {Topic} topic @param {number} size */
function intervalOf({ least }, size) {
  if (size <= LARGE) return least;
  const slow = SLOW_MS * 2 ** Math.ceil(Math.log2(size / LARGE));
  return Math.max(least, Math.min(SLOWEST_MS, slow));
}

/** @param {Topic} topic @param {any} message @param {number} size */
function updated(topic, { result, meta, warnings = [] }, size) {
  position = furthest(position, meta.position);
  answered(topic, { result, meta, warnings }, size);
  // Less often at once; more often only where an answer twice as large would come so as well.
  const interval = Math.max(
    intervalOf(topic, size),
    Math.min(topic.interval, intervalOf(topic, 2 * size)),
  );
  if (interval !== topic.interval && byId.get(topic.id) === topic) {
    topic.interval = interval;
    renew(topic);
  }
}

/** @param {Topic} topic @param {any} message */
function failed(topic, { code, detail, errors = [] }) {
  const begun = topic.begun && topic.question;
  if (code === 'too_many_subscriptions') {
    topic.sent = false;
    most = [...byId.values()].filter((one) => one.sent).length;
    return withoutPlace(topic);
  }
  if (!topic.question && topic.cursor && ['position_invalid', 'internal_error'].includes(code)) {
    // The log is another one, or cannot be read from there: the feed goes on with what comes.
    skip(topic);
    return later(topic);
  }
  fail(topic, { code, detail, errors });
  if (code === 'overloaded' && !begun) later(topic);
  return undefined;
}

/** @param {any} message @param {number} size @returns {any} */
function receive(message, size) {
  if (message.type === 'hello') {
    ({ position } = message);
    most = MOST;
    opened();
    speak();
    for (const open of onOpen) open();
    return;
  }
  if (message.type === 'plugin') {
    changed.add(message.name);
    gathering ??= setTimeout(reconsider, GATHER_MS);
    for (const listener of [...onNotice]) listener(message);
    return;
  }
  const topic = typeof message.id === 'string' ? byId.get(message.id) : undefined;
  if (!topic) return;
  if (message.type === 'error') return failed(topic, message);
  topic.begun = true;
  topic.tries = 0;
  switch (message.type) {
    case 'update':
      return updated(topic, message, size);
    case 'event':
      topic.cursor = message.cursor;
      return tell(topic, { event: message });
    case 'skipped':
      return tell(topic, { skipped: message.count });
    case 'gap':
      return tell(topic, { gap: { from: message.from, to: message.to } });
    default:
  }
}

serve({
  message: receive,
  room: speak,
  lost() {
    ending.clear();
    for (const topic of byId.values()) {
      clearTimeout(topic.timer);
      topic.timer = undefined;
      topic.sent = topic.begun = false;
    }
  },
});

/** @param {Topic} topic @param {(message: any) => void} listener */
function join(topic, listener) {
  const { last, listeners } = topic;
  if (last) listener(last);
  listeners.add(listener);
  // What was too large to be held comes once more.
  if (topic.begun && !last) renew(topic);
  speak();
  let over = false;
  return () => {
    if (over) return;
    over = true;
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearTimeout(topic.timer);
    topic.unasked?.();
    unsubscribe(topic);
    forget(topic);
    speak();
  };
}

/**
 * Watches a question: an answer at once, then one whenever it has changed.
 * @param {Question & { minInterval?: number }} question @param {OnAnswer} onAnswer
 * @returns {() => void} ends it
 */
export function watch({ metric, params, expand, minInterval: interval = 250 }, onAnswer) {
  const question = { metric, params: params ?? {}, ...(expand?.length ? { expand } : {}) };
  return join(
    topicOf(`${keyOf(question)} ${interval}`, {
      said: question,
      question,
      interval,
      least: interval,
    }),
    onAnswer,
  );
}

/**
 * Listens to events as they come; after a loss from the last one on.
 * @param {Filter} filter @param {(message: FeedMessage) => void} onMessage
 * @returns {() => void} ends it
 */
export function listen(filter, onMessage) {
  const events = Object.fromEntries(
    Object.entries(filter).filter(([, value]) => value !== undefined && value !== ''),
  );
  feeds += 1;
  return join(topicOf(`events ${feeds} ${canonical(events)}`, { said: { events } }), onMessage);
}

/**
 * Listens to changes of metrics' states.
 * @param {(notice: { name: string, state: string, [key: string]: any }) => void} listener
 */
export function onPlugin(listener) {
  onNotice.add(listener);
  return () => onNotice.delete(listener);
}

/** Told at each connection. @param {() => void} listener */
export function onConnect(listener) {
  onOpen.add(listener);
  return () => onOpen.delete(listener);
}
