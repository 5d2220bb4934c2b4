// The scale of numbers beside a chart, and which point a place in it is.
//
// Zero is always on the scale, and it begins and ends at a tick, so that it stays as it is while
// numbers change a little. Steps are those that people count in: bytes by powers of two, durations
// by the clock, everything else by 1, 2 and 5. Knows no pixels but how many ticks have room.

/** Steps of a clock, in seconds; below and beyond these durations are decimal. */
const CLOCK = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
];

/** Numbers beyond it, and below its inverse, are not told apart. */
const LARGEST = 1e300;

/** @param {number} least above 0 @returns {number} the next of 1, 2 and 5 times a power of ten */
function decimal(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  const digit = [1, 2, 5].find((one) => one * power >= least * (1 - 1e-9)) ?? 10;
  return digit * power;
}

/** @param {number} least @param {number} second how much of the unit is a second */
function ofClock(least, second) {
  const step = CLOCK.find((one) => one * second >= least);
  if (least <= second / 2) return decimal(least);
  return step === undefined ? decimal(least / second / 86_400) * 86_400 * second : step * second;
}

/**
 * The smallest step that is not less.
 * @param {number} least above 0 @param {string} [unit]
 */
export function niceStep(least, unit) {
  if (unit === 'bytes') return 2 ** Math.max(0, Math.ceil(Math.log2(least)));
  if (unit === 'ms') return ofClock(least, 1000);
  return unit === 's' ? ofClock(least, 1) : decimal(least);
}

/**
 * Where a scale begins and ends, and its ticks.
 * @param {number} least @param {number} most of the numbers
 * @param {number} count of ticks that have room beside zero
 * @param {string} [unit]
 * @param {boolean} [whole] whether all are integers
 */
export function scaleOf(least, most, count, unit, whole = false) {
  const [from, to] = [Math.max(-LARGEST, Math.min(0, least)), Math.min(LARGEST, Math.max(0, most))];
  const span = to - from < 1 / LARGEST ? 1 : to - from;
  const step = Math.max(niceStep(span / Math.max(1, count), unit), whole ? 1 : 0);
  const first = Math.floor(from / step + 1e-9);
  const last = Math.max(Math.ceil(to / step - 1e-9) || 0, first + 1);
  return {
    low: first * step,
    high: last * step,
    ticks: Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step),
  };
}

/**
 * The point that is nearest to a time; -1 if there is none.
 * @param {number[]} times rising @param {number} time
 */
export function nearest(times, time) {
  let [low, high] = [0, times.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle;
    else high = middle;
  }
  return times[high] - time < time - times[low] ? high : Math.min(low, high);
}

const DAY = 86_400_000;

/**
 * The first of the month that is nearest to a time, and the one so many months after it, in UTC.
 * @param {number} time @param {number} [after]
 */
function firstOf(time, after = 0) {
  const middle = new Date(time + 15 * DAY);
  return Date.UTC(middle.getUTCFullYear(), middle.getUTCMonth() + after, 1);
}

/**
 * When the last step ends. It is as long as the one before; months, quarters and years, which begin
 * within a day of the first of a month, are as long as the calendar has them.
 * @param {number[]} times at which steps begin, rising; two at least
 */
export function stepAfter(times) {
  const [before, last] = times.slice(-2);
  const step = last - before;
  const months = Math.round(step / (30.44 * DAY));
  const isFirst = (/** @type {number} */ time) => Math.abs(time - firstOf(time)) <= DAY;
  return months > 0 && isFirst(before) && isFirst(last)
    ? last + firstOf(last, months) - firstOf(last)
    : last + step;
}

/**
 * The range of the steps between two points, both included.
 * @param {number[]} times @param {number} one @param {number} other indexes, in any order
 * @returns {[number, number]} the second exclusive
 */
export function rangeOf(times, one, other) {
  const [low, high] = [Math.min(one, other), Math.max(one, other)];
  const end = times.length > 1 ? stepAfter(times) : times[high] + 60_000;
  return [times[low], times[high + 1] ?? end];
}

/**
 * The least and the largest of numbers, however many there are, and of what else is counted in.
 * @param {number[]} values @param {number} [also]
 * @returns {[number, number]}
 */
export function extremes(values, also) {
  let [least, most] = also === undefined ? [Infinity, -Infinity] : [also, also];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}
