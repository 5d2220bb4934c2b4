// What is watched and listened to on the page: each question once, whoever watches it, with its
// last answer for those who come late.
//
// What is held is bounded: as many answers as topics, each of `LARGE` at most. Says nothing to the
// server.

/** @import {Answer, EventMessage, Fault, Question} from '../types' */

/**
 * Characters of an answer that may come as often as asked for, and that is held for late listeners.
 */
export const LARGE = 256 * 1024;

/**
 * @typedef {{ code: string, detail: string, errors: Fault[] }} Failure
 * @typedef {(message: { answer?: Answer, error?: Failure,
 *   size?: number }) => void} OnAnswer `size` in characters
 * @typedef {{ event?: EventMessage, skipped?: number, gap?: { from: string, to: string },
 *   error?: Failure }} FeedMessage
 * @typedef {object} Topic
 * @property {string} id
 * @property {string} key
 * @property {Question | undefined} question it is a feed without
 * @property {object} said what is said to begin
 * @property {number} interval milliseconds between answers
 * @property {number} least of them, whatever their size
 * @property {Set<(message: any) => void>} listeners
 * @property {any} last what a late listener is told at once
 * @property {string | undefined} cursor where a feed goes on
 * @property {boolean} sent
 * @property {boolean} begun whether something has come for it
 * @property {number} tries
 * @property {ReturnType<typeof setTimeout> | undefined} timer
 * @property {(() => void) | undefined} unasked ends that it is asked by POST
 */

/** @type {Map<string, Topic>} */
const byKey = new Map();
/** @type {Map<string, Topic>} */
export const byId = new Map();
let nextId = 0;

/** Another id, behind all others. @param {Topic} topic */
export function rename(topic) {
  byId.delete(topic.id);
  nextId += 1;
  topic.id = `q${nextId}`;
  byId.set(topic.id, topic);
}

/**
 * The topic of a key, made if there is none.
 * @param {string} key
 * @param {Partial<Topic>} made
 * @returns {Topic}
 */
export function topicOf(key, made) {
  let topic = byKey.get(key);
  if (!topic) {
    topic = {
      id: '',
      key,
      question: undefined,
      said: {},
      interval: 0,
      least: 0,
      listeners: new Set(),
      last: undefined,
      cursor: undefined,
      sent: false,
      begun: false,
      tries: 0,
      timer: undefined,
      unasked: undefined,
      ...made,
    };
    byKey.set(key, topic);
    rename(topic);
  }
  return topic;
}

/** @param {Topic} topic */
export function forget(topic) {
  byKey.delete(topic.key);
  byId.delete(topic.id);
}

/** @param {Topic} topic @param {any} message */
export function tell(topic, message) {
  for (const listener of [...topic.listeners]) listener(message);
}

/** @param {Topic} topic @param {Failure} error */
export function fail(topic, error) {
  topic.last = { ...topic.last, error };
  tell(topic, topic.last);
}

/** @param {Topic} topic @param {string} code @param {string} detail */
export function refuse(topic, code, detail) {
  if (topic.last?.error?.code !== code) fail(topic, { code, detail, errors: [] });
}

/** @param {Topic} topic @param {Answer} answer @param {number} size */
export function answered(topic, answer, size) {
  topic.last = size > LARGE ? undefined : { answer, size };
  tell(topic, { answer, size });
}
