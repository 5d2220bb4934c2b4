// The way to the server: one WebSocket, opened again after each loss, 0.5 to 10 s apart with full
// jitter.
//
// A connection that says nothing is found by a ping. What is said is paced, since the server closes
// a connection that sends too much. A connection that lives shortly does not begin the waits anew.
// Waits are measured by a clock that nobody sets.
// Knows no questions: what is asked again is said by whoever `serve`s it.

import { signal } from '@preact/signals';
import { parse } from '../lib/json.js';

const SHORTEST_MS = 500;
const LONGEST_MS = 10_000;
const PING_MS = 15_000;
const PONG_MS = 10_000;
/** A connection that has not opened by then is given up. */
const OPEN_MS = 10_000;
/** One that has lived so long was a good one: the waits begin anew after it. */
const GOOD_MS = 10_000;
/** Messages that may be sent at once, and then each second; the server allows 256, and 64. */
const [AT_ONCE, PER_SECOND] = [128, 40];

/**
 * @typedef {object} Connection
 * @property {'connecting' | 'live' | 'reconnecting' | 'stopped'} state
 * @property {number} since Unix milliseconds
 * @property {number | undefined} retryAt
 */

export const connection = signal(
  /** @type {Connection} */ ({ state: 'connecting', since: Date.now(), retryAt: undefined }),
);

/**
 * @typedef {object} Served
 * @property {(message: any, size: number) => void} message what came, and its length
 * @property {() => void} lost
 * @property {() => void} room more may be said
 */

/** @type {Served} */
let served = { message() {}, lost() {}, room() {} };
/** @type {WebSocket | undefined} */
let socket;
let heardAt = 0;
/** Losses since a good connection. */
let losses = 0;
let allowance = { left: AT_ONCE, at: 0 };
/** @typedef {ReturnType<typeof setTimeout> | undefined} Timer */
/** @type {Timer} */
let retry;
/** @type {Timer} */
let ping;
/** @type {Timer} */
let pong;
/** @type {Timer} */
let good;
/** @type {Timer} */
let room;

/** @param {Served} by who hears what happens */
export function serve(by) {
  served = by;
}

/** @param {Connection['state']} state @param {number} [retryAt] */
function become(state, retryAt) {
  const before = connection.value;
  connection.value = { state, since: before.state === state ? before.since : Date.now(), retryAt };
}

/**
 * Says something, if the server can hear it and the pace allows it; else `room` is called when it
 * does.
 * @param {object} message
 * @returns {boolean} whether it was said
 */
export function say(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  const at = performance.now();
  const { left } = allowance;
  allowance = {
    left: Math.min(AT_ONCE, left + ((at - allowance.at) * PER_SECOND) / 1000),
    at,
  };
  if (allowance.left < 1) {
    room ??= setTimeout(
      () => {
        room = undefined;
        served.room();
      },
      Math.ceil(1000 / PER_SECOND),
    );
    return false;
  }
  allowance.left -= 1;
  socket.send(JSON.stringify(message));
  return true;
}

/** The server has greeted: the way is open. */
export function opened() {
  become('live');
  good = setTimeout(() => {
    losses = 0;
  }, GOOD_MS);
}

/** Something came: cheap, since it is called for every event. */
function heard() {
  heardAt = performance.now();
  if (pong !== undefined) {
    clearTimeout(pong);
    pong = undefined;
  }
  if (ping === undefined) planPing(PING_MS);
}

/** @param {number} wait milliseconds until it may be time for a ping */
function planPing(wait) {
  ping = setTimeout(() => {
    const quiet = performance.now() - heardAt;
    if (quiet < PING_MS) return planPing(PING_MS - quiet);
    ping = undefined;
    say({ type: 'ping' });
    pong = setTimeout(() => lost(false), PONG_MS);
    return undefined;
  }, wait);
}

/** @param {boolean} stopped whether the server said that it stops */
function lost(stopped) {
  for (const timer of [ping, pong, good, room, retry]) clearTimeout(timer);
  ping = pong = room = undefined;
  const old = socket;
  socket = undefined;
  if (old) {
    old.onopen = old.onmessage = old.onclose = old.onerror = null;
    old.close();
  }
  const { state } = connection.value;
  const wait = Math.max(
    100,
    Math.round(Math.random() * Math.min(LONGEST_MS, SHORTEST_MS * 2 ** Math.min(losses, 10))),
  );
  losses += 1;
  const next =
    stopped || state === 'stopped'
      ? 'stopped'
      : state === 'connecting'
        ? 'connecting'
        : 'reconnecting';
  become(next, Date.now() + wait);
  served.lost();
  retry = setTimeout(open, wait);
}

function open() {
  clearTimeout(retry);
  const url = new URL('ws?events=none', document.baseURI);
  url.hash = '';
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const made = new WebSocket(url);
  socket = made;
  allowance = { left: AT_ONCE, at: performance.now() };
  pong = setTimeout(() => lost(false), OPEN_MS);
  made.onopen = heard;
  made.onmessage = ({ data }) => {
    heard();
    let message;
    try {
      message = parse(data);
    } catch {
      return;
    }
    served.message(message, data.length);
  };
  made.onclose = ({ code }) => lost(code === 1001);
}

/** Tries at once. */
export function retryNow() {
  if (!socket) open();
}

/** Connects; once, by the page's start. */
export function connect() {
  open();
  window.addEventListener('online', retryNow);
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'hidden') retryNow();
  });
}
