// Boards: those that this browser keeps, and those that the engine serves.
//
// What is kept is bounded, has a version, and is judged when it is read; what another version has
// kept is left alone. Where the browser keeps nothing, boards last as long as the page, and
// `trouble` says so. Served ones are only read. An address tells them apart: a kept one begins with
// `~`, which no served one may.

import { signal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import {
  added,
  empty,
  faultOf,
  judge,
  LONGEST_TITLE,
  MOST_ITEMS,
  PICTURES,
  restored,
} from '../lib/board.js';
import { polled } from './poll.js';
import { onConnect } from './socket.js';

/** @import {Board, Item, Question} from '../lib/board.js' */
/** @import {Problem} from './api.js' */

const KEY = 'tally.boards';
const MOST_BOARDS = 100;
/** Characters of all of them. */
const ROOM = 2 * 1024 * 1024;
const EVERY_MS = 30_000;

/** Boards of this browser by their ids. */
export const kept = signal(/** @type {Record<string, Board>} */ ({}));
/** What went wrong with keeping, and what to do. */
export const trouble = signal(
  /** @type {{ title: string, why: string, other?: string } | undefined} */ (undefined),
);
/** What was removed last, until something else changes. */
export const removed = signal(
  /** @type {{ text: string, back: () => void } | undefined} */ (undefined),
);

let last = '';
/** What is kept as a board and is none: it stays where it is. @type {Record<string, any>} */
let damaged = {};
/** Whether all that is kept is of a form that is not known: then nothing is written over it. */
let locked = false;
/** Whether what is seen is not what the browser keeps. */
let apart = false;
/** Boards that were changed here since then. @type {Set<string>} */
const own = new Set();

function storage() {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}

/** That some boards are none; nothing, where all are. */
function spoilt() {
  const names = Object.keys(damaged);
  if (names.length === 0) return undefined;
  return {
    title: 'A board kept here cannot be read',
    why:
      `${names.join(', ')}: another version of this page has kept it, or something has ` +
      'changed it. It is left as it is; the others are here.',
    other: JSON.stringify(damaged),
  };
}

/**
 * The boards in what is kept; `damaged` and `last` are then those of it.
 * @param {string | null} text
 */
function soundIn(text) {
  const value = text === null ? { version: 1, boards: {} } : JSON.parse(text);
  if (value?.version !== 1 || typeof value.boards !== 'object' || value.boards === null)
    throw new Error('another form');
  /** @type {[string, any][]} */
  const all = Object.entries(value.boards);
  const sound = all.filter(([, board]) => judge(board).length === 0);
  damaged = Object.fromEntries(all.filter((one) => !sound.includes(one)));
  last = value.last ?? '';
  return Object.fromEntries(sound);
}

/** Takes over what the browser keeps. */
function read() {
  let text = null;
  apart = true;
  locked = false;
  damaged = {};
  own.clear();
  try {
    const store = storage();
    if (!store) throw new Error('no storage');
    text = store.getItem(KEY);
  } catch {
    trouble.value = {
      title: 'This browser keeps nothing',
      why: 'Its storage is off: boards last until this page is closed. Export what should stay.',
    };
    return;
  }
  try {
    kept.value = soundIn(text);
    apart = false;
    trouble.value = spoilt();
  } catch {
    locked = true;
    trouble.value = {
      title: 'The boards kept here cannot be read',
      why:
        'Another version of this page has kept them, or something has changed them. ' +
        'They are left as they are; what you make is not kept.',
      other: text ?? '',
    };
  }
}

const NOT_KEPT = 'The last change is not kept';

/** @param {string} title */
function noRoom(title) {
  trouble.value = {
    title,
    why:
      'There is no more room in this browser: it is lost when this page is closed. ' +
      'Export it, or remove boards.',
  };
}

/** @param {Record<string, Board>} boards */
function write(boards) {
  for (const id in { ...kept.value, ...boards }) if (kept.value[id] !== boards[id]) own.add(id);
  kept.value = boards;
  if (locked) return;
  apart = true;
  try {
    const text = JSON.stringify({ version: 1, last, boards: { ...damaged, ...boards } });
    if (text.length > ROOM) throw new Error('too large');
    const store = storage();
    if (!store) return;
    store.setItem(KEY, text);
    apart = false;
    own.clear();
    trouble.value = spoilt();
  } catch {
    noRoom(NOT_KEPT);
  }
}

/**
 * What another page of this browser has done meanwhile is taken over; boards that could not be kept
 * stay as they are here.
 */
function current() {
  if (!apart) read();
  else merge();
  return kept.value;
}

/** Takes over what the browser keeps, but for the boards that were changed here. */
function merge() {
  const [seen, at] = [kept.value, last];
  try {
    const store = storage();
    if (!store) return;
    const boards = soundIn(store.getItem(KEY));
    if (own.size > 0) last = at;
    for (const id of own) {
      if (Object.hasOwn(seen, id)) boards[id] = seen[id];
      else delete boards[id];
    }
    locked = false;
    kept.value = boards;
  } catch {
    // What is kept cannot be read: what is seen stays, and `trouble` says why.
  }
}

/** Forgets boards that cannot be read. */
export function beginAnew() {
  const before = storage()?.getItem(KEY);
  trouble.value = undefined;
  locked = false;
  damaged = {};
  write(kept.value);
  const back = () => {
    try {
      if (before) storage()?.setItem(KEY, before);
      removed.value = undefined;
      read();
    } catch {
      noRoom('The discarded boards cannot be restored');
    }
  };
  removed.value = { text: 'Discarded what could not be read.', back };
}

/**
 * Keeps a board, unless it is none.
 * @param {string} id @param {Board} board
 * @returns {string | undefined} what is wrong with it
 */
export function save(id, board) {
  const fault = faultOf(board);
  if (fault) {
    trouble.value = { title: NOT_KEPT, why: fault };
    return fault;
  }
  const boards = current();
  last = id;
  write({ ...boards, [id]: board });
  removed.value = undefined;
  return undefined;
}

/**
 * Takes an item off a board; it can be put back onto what the board is then.
 * @param {string} id of the board
 * @param {Item} item
 */
export function removeItem(id, item) {
  const board = current()[id];
  if (!board) return;
  if (save(id, { ...board, items: board.items.filter((one) => one.id !== item.id) })) return;
  removed.value = {
    text: `Removed “${item.title ?? item.metric}”.`,
    back: () => save(id, restored(current()[id] ?? { ...board, items: [] }, item)),
  };
}

/** @param {string} id */
export function remove(id) {
  const { [id]: gone, ...others } = current();
  if (!gone) return;
  write(others);
  const back = () => (Object.hasOwn(current(), id) ? make(gone) : save(id, gone));
  removed.value = { text: `Removed “${gone.title}”.`, back };
}

/**
 * Keeps a new board.
 * @param {Board} board
 * @returns {string | undefined} its id; none where there are too many
 */
export function make(board) {
  const boards = current();
  if (Object.keys(boards).length >= MOST_BOARDS) {
    trouble.value = {
      title: 'No more boards',
      why: `This browser keeps ${MOST_BOARDS} at most: remove one.`,
    };
    return undefined;
  }
  const stem =
    board.title
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-|-$/g, '')
      .slice(0, 40) || 'board';
  let id = `~${stem}`;
  for (let n = 2; id in { ...damaged, ...boards }; n += 1) id = `~${stem}-${n}`;
  save(id, board);
  return id;
}

/** Questions are pinned to this one from now on. @param {string} id */
export function use(id) {
  const boards = current();
  if (last === id) return;
  last = id;
  write(boards);
}

/**
 * Adds a question to the board that was used last, or to a new one where there is none with room.
 * Throws an error that says why, where there is none.
 * @param {Omit<Question, 'picture'> & { picture?: string }} question what is absent, or no picture
 *   of a board, is absent there
 * @returns {{ board: string, id: string }} the board's id, for its address, and that of the item
 */
export function pin({ metric, params, expand, title, picture }) {
  const boards = current();
  const at = Object.hasOwn(boards, last) ? last : (Object.keys(boards).at(-1) ?? '');
  const full = !at || boards[at].items.length >= MOST_ITEMS;
  const board = full ? make(empty('My board')) : at;
  if (!board) throw new Error(trouble.value?.why);
  const made = added(kept.value[board], {
    metric,
    params,
    expand: expand?.length ? expand : undefined,
    title: title ? [...title].slice(0, LONGEST_TITLE).join('') : undefined,
    picture: PICTURES.find((one) => one === picture),
  });
  const fault = faultOf(made.board);
  if (fault) throw new Error(fault);
  save(board, made.board);
  return { board, id: made.id };
}

/**
 * What the engine serves at a path, asked again by and by and at each connection.
 * @param {string} path
 */
export function useServed(path) {
  const poll = useMemo(() => polled(path, EVERY_MS), [path]);
  useEffect(() => {
    const ends = [poll.start(), onConnect(poll.again)];
    return () => ends.forEach((end) => end());
  }, [poll]);
  return /** @type {{ data: any, problem: Problem | undefined }} */ (poll.value.value);
}

read();
window.addEventListener('storage', ({ key }) => {
  if (key === KEY) current();
});
