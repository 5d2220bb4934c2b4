// Wall clocks of a zone: a moment as a date and time there, and back.
//
// A time that a change of the clock skips is the moment after it; one that comes twice is the
// first.

/**
 * The clocks that were read last: they are dear to make.
 * @type {Map<string, Intl.DateTimeFormat>}
 */
const clocks = new Map();

/** @param {string} zone */
function clockOf(zone) {
  const known = clocks.get(zone);
  if (known) return known;
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  if (clocks.size > 8) clocks.clear();
  clocks.set(zone, made);
  return made;
}

/** @param {number} time @param {string} zone milliseconds that the zone is ahead of UTC then */
export function offset(time, zone) {
  const parts = clockOf(zone).formatToParts(time);
  const text = (/** @type {string} */ type) => parts.find((part) => part.type === type)?.value;
  const of = (/** @type {string} */ type) => Number(text(type));
  // `Date.UTC` takes the years of the first century for those of the last.
  const wall = new Date(
    Date.UTC(2000, 0, 1, of('hour'), of('minute'), of('second')),
  ).setUTCFullYear(text('era') === 'BC' ? 1 - of('year') : of('year'), of('month') - 1, of('day'));
  return wall - Math.floor(time / 1000) * 1000;
}

/**
 * As an input of dates and times has it: `2026-01-01T00:00:00`; nothing for a year that it cannot
 * hold.
 * @param {number} time @param {string} zone
 */
export function localOf(time, zone) {
  const wall = new Date(time + offset(time, zone));
  const year = wall.getUTCFullYear();
  return year >= 1 && year <= 9999 ? wall.toISOString().slice(0, 19) : '';
}

/**
 * The moment of such a text in a zone; `undefined` if it is none.
 * @param {string} text @param {string} zone
 */
export function momentOf(text, zone) {
  const wall = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? Date.parse(`${text}Z`) : NaN;
  if (!Number.isFinite(wall)) return undefined;
  const early = wall - offset(wall - 86_400_000, zone);
  if (early + offset(early, zone) === wall) return early;
  const late = wall - offset(wall + 86_400_000, zone);
  return late + offset(late, zone) === wall ? late : early;
}
