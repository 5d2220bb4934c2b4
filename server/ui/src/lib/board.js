// A board: questions, their pictures and their places on a grid of 12 columns, as one JSON
// document.
//
// Its form is that of server/src/boards/schema.json. Reads strictly and says everything that is
// wrong, so that a document written by hand is mended in one go. A board is shared as text in an
// address: deflated, base64url, bounded both ways. Whether a metric of that name is served is not
// judged.

import { DEEPEST, isDeep } from './depth.js';
import { below } from './pointer.js';

/**
 * @typedef {{ x: number, y: number, w: number, h: number }} Place columns and rows
 * @typedef {'figure' | 'bars' | 'table' | 'series' | 'tree'} ItemPicture
 * @typedef {object} Question
 * @property {string} metric
 * @property {Record<string, any>} params
 * @property {string[]} [expand]
 * @property {string} [title]
 * @property {ItemPicture} [picture] absent: as the result's schema says
 * @typedef {{ id: string } & Question & Place} Item
 */
/**
 * @typedef {object} Board
 * @property {1} version
 * @property {string} title
 * @property {Item[]} items
 */
/** @import {Fault} from '../types' */

export const COLUMNS = 12;
export const MOST_ITEMS = 100;
export const LONGEST_TITLE = 120;
/** Bytes of a document. */
export const LARGEST = 256 * 1024;
/** Characters of a board in an address; longer ones do not travel everywhere. */
export const LONGEST_SHARED = 8000;
/** @type {ItemPicture[]} */
export const PICTURES = ['figure', 'bars', 'table', 'series', 'tree'];

/** @typedef {[(value: any) => boolean, string]} Rule */

/** @param {any} value */
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
/** @param {RegExp} form @param {string} detail @returns {Rule} */
const text = (form, detail) => [(value) => typeof value === 'string' && form.test(value), detail];
/** @param {number} low @param {number} high @returns {Rule} */
const whole = (low, high) => [
  (value) => Number.isInteger(value) && value >= low && value <= high,
  `must be a whole number from ${low} to ${high}`,
];

const TITLE = text(
  new RegExp(`^[^]{1,${LONGEST_TITLE}}$`, 'u'),
  `must be a text of 1 to ${LONGEST_TITLE} characters`,
);

/** @type {Record<string, Rule>} */
const BOARD = {
  version: [(value) => value === 1, 'must be 1'],
  title: TITLE,
  items: [
    (value) => Array.isArray(value) && value.length <= MOST_ITEMS,
    `must be a list of at most ${MOST_ITEMS} items`,
  ],
};

/** @type {Record<string, Rule>} */
const ITEM = {
  id: text(/^[A-Za-z0-9_-]{1,64}$/, 'must be a text of 1 to 64 letters, digits, _ and -'),
  metric: text(/^[a-z][a-z0-9_]{0,63}$/, 'must be the name of a metric'),
  params: [
    (value) => isObject(value) && !isDeep(value),
    `must be an object of at most ${DEEPEST} levels`,
  ],
  x: whole(0, COLUMNS - 1),
  y: whole(0, 9999),
  w: whole(1, COLUMNS),
  h: whole(1, 100),
  title: TITLE,
  expand: [
    (value) => Array.isArray(value) && value.length <= 1 && value.every((one) => one === 'names'),
    'must be ["names"] or []',
  ],
  picture: [(value) => PICTURES.includes(value), `must be one of ${PICTURES.join(', ')}`],
};
const OPTIONAL = ['title', 'expand', 'picture'];

/**
 * @param {any} value
 * @param {Record<string, Rule>} rules
 * @param {string[]} optional
 * @param {string} at
 * @returns {Fault[]}
 */
function judged(value, rules, optional, at) {
  if (!isObject(value)) return [{ pointer: at, detail: 'must be an object' }];
  const missing = Object.keys(rules).filter(
    (key) => !Object.hasOwn(value, key) && !optional.includes(key),
  );
  return [
    ...missing.map((key) => ({ pointer: below(at, key), detail: 'is missing' })),
    ...Object.keys(value).flatMap((key) => {
      const rule = Object.hasOwn(rules, key) ? rules[key] : undefined;
      if (rule?.[0](value[key])) return [];
      return [
        {
          pointer: below(at, key),
          detail: rule ? rule[1] : `is unknown; known are ${Object.keys(rules).join(', ')}`,
        },
      ];
    }),
  ];
}

/**
 * What is wrong with a document; nothing, if it is a board.
 * @param {any} value
 * @returns {Fault[]}
 */
export function judge(value) {
  const faults = judged(value, BOARD, [], '');
  const items = Array.isArray(value?.items) ? value.items.slice(0, MOST_ITEMS) : [];
  const ids = new Set();
  for (const [n, item] of items.entries()) {
    const at = below('/items', n);
    const own = judged(item, ITEM, OPTIONAL, at);
    faults.push(...own);
    if (own.length > 0) continue;
    if (item.x + item.w > COLUMNS)
      faults.push({ pointer: at, detail: `x and w are more than ${COLUMNS} together` });
    if (ids.has(item.id))
      faults.push({ pointer: below(at, 'id'), detail: 'another item has it too' });
    ids.add(item.id);
  }
  return faults;
}

/** Whether a document is too large; the server counts bytes, too. @param {string} json */
const isLarge = (json) => json.length > LARGEST || new Blob([json]).size > LARGEST;

/** What is wrong with one that is. @type {Fault} */
const TOO_LARGE = { pointer: '', detail: `is larger than ${LARGEST / 1024} KiB` };

/**
 * Reads a document.
 * @param {string} json
 * @returns {{ board?: Board, faults: Fault[] }}
 */
export function parse(json) {
  if (isLarge(json)) return { faults: [TOO_LARGE] };
  let value;
  try {
    value = JSON.parse(json);
  } catch (error) {
    return {
      faults: [{ pointer: '', detail: `is no JSON: ${/** @type {Error} */ (error).message}` }],
    };
  }
  const faults = judge(value);
  return faults.length === 0 ? { board: value, faults } : { faults };
}

/**
 * What would be wrong with a board if it was kept.
 * @param {Board} board
 * @returns {string | undefined}
 */
export function faultOf(board) {
  const [fault] = judge(board);
  if (fault) return `The board: ${fault.pointer} ${fault.detail}`;
  return isLarge(JSON.stringify(board)) ? `The board ${TOO_LARGE.detail}.` : undefined;
}

/** As a document: indented, unless it would be too large to be read again. @param {Board} board */
export function write(board) {
  const pretty = `${JSON.stringify(board, null, 2)}\n`;
  return isLarge(pretty) ? JSON.stringify(board) : pretty;
}

/** @param {string} [title] @returns {Board} */
export function empty(title = 'Board') {
  return { version: 1, title, items: [] };
}

/** @param {Place} a @param {Place} b */
const apart = (a, b) =>
  a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;

/**
 * Places that do not overlap, without empty rows. What overlaps moves down; an item that the moved
 * one passes on its way down changes places with it where there is room.
 * @param {Item[]} items
 * @param {Item} [moved] one of them at its new place, which it gets
 * @returns {Item[]} from above to below
 */
export function arranged(items, moved) {
  const before = moved && items.find((item) => item.id === moved.id);
  const rest = items.filter((item) => item !== before).sort((a, b) => a.y - b.y || a.x - b.x);
  const placed = moved ? [moved] : [];
  for (const item of rest) {
    let at = item;
    const up = moved && { ...item, y: moved.y - item.h };
    if (
      up &&
      before &&
      !apart(item, moved) &&
      before.y < item.y &&
      up.y >= 0 &&
      [...placed, ...rest].every((other) => other === item || apart(other, up))
    )
      at = up;
    for (let hit; (hit = placed.find((other) => !apart(other, at)));)
      at = { ...at, y: hit.y + hit.h };
    placed.push(at);
  }
  let [bottom, gap] = [0, 0];
  return placed
    .sort((a, b) => a.y - b.y || a.x - b.x)
    .map((item) => {
      gap += Math.max(0, item.y - bottom);
      bottom = Math.max(bottom, item.y + item.h);
      return gap ? { ...item, y: item.y - gap } : item;
    });
}

/** Rows that items take. @param {Place[]} items */
export function rowsOf(items) {
  return Math.max(0, ...items.map((item) => item.y + item.h));
}

/**
 * An item at another place, and the others where they are then. Places out of the grid are its
 * nearest.
 * @param {Item[]} items
 * @param {string} id
 * @param {Place} place
 */
export function placed(items, id, place) {
  const item = items.find((one) => one.id === id);
  if (!item) return items;
  const within = (
    /** @type {number} */ value,
    /** @type {number} */ low,
    /** @type {number} */ high,
  ) => Math.max(low, Math.min(high, Math.round(value) || 0));
  const w = within(place.w, 1, COLUMNS);
  const y = within(place.y, 0, rowsOf(items.filter((one) => one !== item)));
  return arranged(items, {
    ...item,
    w,
    h: within(place.h, 1, 100),
    x: within(place.x, 0, COLUMNS - w),
    y,
  });
}

/**
 * An item a step further, so far that something changes; the same items where nothing can.
 * @param {Item[]} items @param {string} id @param {Partial<Place>} by
 */
export function stepped(items, id, by) {
  const item = items.find((one) => one.id === id);
  if (!item) return items;
  for (let n = 1; n <= 100; n += 1) {
    const further = (/** @type {keyof Place} */ key) => item[key] + n * (by[key] ?? 0);
    const next = placed(items, id, {
      x: further('x'),
      y: further('y'),
      w: further('w'),
      h: further('h'),
    });
    const now = next.find((one) => one.id === id);
    if (now && (now.x !== item.x || now.y !== item.y || now.w !== item.w || now.h !== item.h))
      return next;
  }
  return items;
}

/** An id that no item has. @param {Item[]} items @param {string} metric */
function freeId(items, metric) {
  const stem = metric.slice(0, 56);
  let n = 1;
  while (items.some((item) => item.id === `${stem}-${n}`)) n += 1;
  return `${stem}-${n}`;
}

/**
 * A board with an item that was on it, at its place. What has its id meanwhile is another one.
 * @param {Board} board @param {Item} item
 * @returns {Board}
 */
export function restored(board, item) {
  const taken = board.items.some((one) => one.id === item.id);
  const back = taken ? { ...item, id: freeId(board.items, item.metric) } : item;
  return { ...board, items: arranged([...board.items, back], back) };
}

/**
 * A board with one more question, where there is room for it first.
 * @param {Board} board @param {Question} question
 * @returns {{ board: Board, id: string }}
 */
export function added(board, question) {
  const items = arranged(board.items);
  const [w, h] = question.picture
    ? { figure: [3, 3], bars: [4, 4], table: [6, 6], series: [8, 5], tree: [4, 5] }[
        question.picture
      ]
    : [6, 7];
  const spots = Array.from({ length: (rowsOf(items) + 1) * COLUMNS }, (_, n) => ({
    x: n % COLUMNS,
    y: Math.floor(n / COLUMNS),
    w,
    h,
  }));
  const spot = spots.find((one) => one.x + w <= COLUMNS && items.every((item) => apart(item, one)));
  const given = Object.fromEntries(
    Object.entries(question).filter(([, value]) => value !== undefined),
  );
  const item = /** @type {Item} */ ({ id: freeId(items, question.metric), ...given, ...spot });
  return { board: { ...board, items: [...items, item] }, id: item.id };
}

/**
 * What bytes become when they are deflated or inflated; fails where that is longer than a board may
 * be.
 * @param {BlobPart} from
 * @param {CompressionStream | DecompressionStream} way
 */
function changed(from, way) {
  let size = 0;
  const bounded = new TransformStream({
    transform(part, out) {
      size += part.length;
      if (size > LARGEST) out.error(new Error(`longer than ${LARGEST} bytes`));
      else out.enqueue(part);
    },
  });
  return new Response(
    new Blob([from]).stream().pipeThrough(way).pipeThrough(bounded),
  ).arrayBuffer();
}

/** The board as a text that an address can hold. @param {Board} board */
export async function pack(board) {
  const bytes = new Uint8Array(
    await changed(JSON.stringify(board), new CompressionStream('deflate-raw')),
  );
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '');
}

/**
 * The board of such a text.
 * @param {string} text
 * @returns {Promise<{ board?: Board, faults: Fault[] }>}
 */
export async function unpack(text) {
  try {
    if (text.length > LARGEST) throw new Error('too long');
    const raw = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
    return parse(
      new TextDecoder().decode(await changed(bytes, new DecompressionStream('deflate-raw'))),
    );
  } catch {
    return {
      faults: [
        {
          pointer: '',
          detail: 'the address holds no whole board: it was cut, or is longer than a board may be',
        },
      ],
    };
  }
}
