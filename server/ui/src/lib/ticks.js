// Ticks of an axis of time: at moments that are round on the wall clock of a zone.
//
// From seconds to centuries; weeks begin on Monday. Where the clocks change, ticks stay round: an
// hour that comes twice has two, one that is skipped has none. A tick says in which form its time
// is written, by the name of a function of `formats`.

import { localOf, momentOf, offset } from './zone.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const CLOCK = [
  ...[1, 2, 5, 10, 15, 30].flatMap((n) => [n * SECOND, n * MINUTE]),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
].sort((a, b) => a - b);
const DAYS = [1, 2, 7, 14];
const MONTHS = [1, 3, 6, 12, 24, 60, 120, 240, 600, 1200];

/** Most ticks, whatever is asked for. */
const MOST = 100;

/** @typedef {{ time: number, as: 'clock' | 'minutes' | 'shortDay' | 'month' | 'year' }} Tick */

/**
 * @param {number} time
 * @param {number} step
 * @param {string} zone how far it is behind a round time
 */
function over(time, step, zone) {
  const wall = time + offset(time, zone);
  return ((wall % step) + step) % step;
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} step at most half a day
 * @param {string} zone
 * @returns {Tick[]}
 */
function ofClock(from, to, step, zone) {
  const ticks = [];
  let time = from - over(from, step, zone);
  for (let n = 0; n < MOST && time <= to; n += 1) {
    if (time >= from)
      ticks.push({
        time,
        as: over(time, DAY, zone) === 0 ? 'shortDay' : step < MINUTE ? 'clock' : 'minutes',
      });
    const next = time + step;
    const rest = over(next, step, zone);
    // The clocks were changed in between: the round time before, or the one after it.
    time =
      rest > 0 && next - rest > time && over(next - rest, step, zone) === 0
        ? next - rest
        : next + (rest > 0 ? step - rest : 0);
  }
  return /** @type {Tick[]} */ (ticks);
}

/**
 * Ticks at midnights. `date` is that of a number, as UTC has it; `first` the number at or before
 * `from`.
 * @param {number} from
 * @param {number} to
 * @param {string} zone
 * @param {number} first
 * @param {(n: number) => number} date
 * @param {(date: Date) => Tick['as']} as
 * @returns {Tick[]}
 */
function ofDates(from, to, zone, first, date, as) {
  /** @type {Tick[]} */
  const ticks = [];
  for (let n = first; n < first + MOST; n += 1) {
    const day = new Date(date(n));
    const time = momentOf(day.toISOString().slice(0, 16), zone);
    if (time === undefined || time > to) break;
    if (time >= from) ticks.push({ time, as: as(day) });
  }
  return ticks;
}

/**
 * @param {number} from @param {number} to Unix milliseconds, both included
 * @param {number} most how many have room @param {string} zone
 * @returns {Tick[]}
 */
export function timeTicks(from, to, most, zone) {
  if (!(Math.max(Math.abs(from), Math.abs(to)) < 8e15)) return [];
  const least = (to - from) / Math.max(1, most);
  const clock = CLOCK.find((step) => step >= least);
  if (clock) return ofClock(from, to, clock, zone);
  const wall = new Date(`${localOf(from, zone)}Z`);
  const days = DAYS.find((step) => step * DAY >= least);
  if (days) {
    // The first of January 1970 was a Thursday.
    return ofDates(
      from,
      to,
      zone,
      Math.floor((wall.getTime() / DAY + 3) / days),
      (n) => (n * days - 3) * DAY,
      () => 'shortDay',
    );
  }
  const months = MONTHS.find((step) => step * 30 * DAY >= least) ?? 12_000;
  const first = Math.floor((wall.getUTCFullYear() * 12 + wall.getUTCMonth()) / months);
  return ofDates(
    from,
    to,
    zone,
    first,
    (n) => Date.UTC(1970, n * months - 1970 * 12),
    (date) => (date.getUTCMonth() === 0 ? 'year' : 'month'),
  );
}
