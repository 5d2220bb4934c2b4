// Writes numbers, shares, durations, sizes and times for people.
//
// Locale and zone are handed in. Every function takes what the server sent; what is no number or no
// time becomes a dash, never "NaN". Texts are short: where a value was shortened, the caller keeps
// the whole beside it.

const DASH = '–';
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * A number of an answer: numbers, and texts of decimals beyond what a number holds.
 * @param {unknown} value
 * @returns {boolean}
 */
export function isNumeric(value) {
  if (typeof value === 'number') return Number.isFinite(value);
  return typeof value === 'string' && /^-?[0-9]{1,60}(\.[0-9]{1,40})?$/.test(value);
}

/**
 * Unix milliseconds of a time as the server writes or reads it; `undefined` if it is none.
 * @param {unknown} value
 */
export function millis(value) {
  const time =
    typeof value === 'number' ? value : typeof value === 'string' ? Date.parse(value) : NaN;
  return Number.isFinite(time) && Math.abs(time) <= 8.64e15 ? time : undefined;
}

/**
 * Length of a window such as `2h` in milliseconds; `undefined` for `all` and what is none.
 * @param {unknown} text
 */
export function windowMillis(text) {
  const found = typeof text === 'string' ? /^([1-9][0-9]{0,8})([mhdw])$/.exec(text) : null;
  const units = { m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY };
  return found ? Number(found[1]) * units[/** @type {'m'} */ (found[2])] : undefined;
}

/**
 * What a window such as `2h` is called.
 * @param {unknown} text
 */
export function windowTitle(text) {
  const found = typeof text === 'string' ? /^([1-9][0-9]{0,8})([mhdw])$/.exec(text) : null;
  if (!found) return text === 'all' || text === undefined ? 'all time' : String(text);
  const unit = { m: 'minute', h: 'hour', d: 'day', w: 'week' }[/** @type {'m'} */ (found[2])];
  return found[1] === '1' ? `last ${unit}` : `last ${found[1]} ${unit}s`;
}

/** Of the words here, which are English whatever the locale of numbers. */
const PLURALS = new Intl.PluralRules('en');

/**
 * The form of a word that suits a number.
 * @param {unknown} count @param {string} one @param {string} [many]
 */
export const plural = (count, one, many = `${one}s`) =>
  PLURALS.select(Number(count)) === 'one' ? one : many;

/** Whether the text of a number says its unit. @param {string} unit */
export const isWritten = (unit) => ['%', 'share', 'bytes', 'ms', 's'].includes(unit);

/** Digits after the point: six in all, and two at least. */
const DIGITS = [6, 5, 4, 3, 2];

/**
 * Whether the numbers of a column have at most two digits after the point, and some have one: then
 * all are written with two.
 * @param {unknown[]} values
 */
export function areCents(values) {
  const texts = values.filter(isNumeric).map(String);
  return (
    texts.some((text) => text.includes('.')) &&
    texts.every((text) => /^-?\d+(\.\d\d?)?$/.test(text))
  );
}

/** ISO 4217, as far as it is known here. */
const CURRENCIES = new Set(Intl.supportedValuesOf?.('currency'));

/**
 * The functions for a locale and a zone.
 * @param {string | string[] | undefined} locale
 * @param {string} zone
 */
export function formats(locale, zone) {
  /** @param {Intl.NumberFormatOptions} options */
  const numbers = (options) => new Intl.NumberFormat(locale, options);
  /** @param {Intl.DateTimeFormatOptions} options */
  const dates = (options) => new Intl.DateTimeFormat(locale, { timeZone: zone, ...options });
  const plain = DIGITS.map((digits) => numbers({ maximumFractionDigits: digits }));
  const exact = numbers({ maximumFractionDigits: 20 });
  const fine = numbers({ maximumSignificantDigits: 3 });
  const whole = numbers({ maximumFractionDigits: 0 });
  const two = numbers({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const compact = numbers({ notation: 'compact', maximumFractionDigits: 1 });
  const percent = numbers({ style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const one = numbers({ maximumFractionDigits: 1 });
  /** Numbers with the digits of a currency. @type {Map<string, Intl.NumberFormat>} */
  const money = new Map();
  const full = dates({
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  });
  const clock = dates({ hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
  const minutes = dates({ hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  const day = dates({ year: 'numeric', month: 'short', day: 'numeric' });
  const monthDay = dates({ month: 'short', day: 'numeric' });
  const month = dates({ month: 'short' });
  const year = dates({ year: 'numeric' });
  const short = dates({
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'always', style: 'narrow' });

  /** To about six digits; whole numbers to the last. @param {unknown} value */
  const number = (value) => {
    if (!isNumeric(value)) return DASH;
    const size = Math.abs(Number(value));
    const before = size < 1 ? 0 : Math.min(Math.floor(Math.log10(size)) + 1, DIGITS.length - 1);
    const way = size !== 0 && size < 0.01 ? fine : plain[before];
    return way.format(/** @type {any} */ (value));
  };
  /** @param {string} currency */
  const moneyOf = (currency) => {
    let way = money.get(currency);
    if (!way) {
      const { maximumFractionDigits: digits } = numbers({
        style: 'currency',
        currency,
      }).resolvedOptions();
      way = numbers({ minimumFractionDigits: digits, maximumFractionDigits: digits });
      money.set(currency, way);
    }
    return way;
  };
  /** @param {number | undefined} time @param {Intl.DateTimeFormat} way */
  const when = (time, way) => (time === undefined ? DASH : way.format(time));

  /**
   * As its unit wants it; what is no known unit changes nothing.
   * @param {unknown} value
   * @param {string} [unit]
   */
  const withUnit = (value, unit = '') => {
    if (!isNumeric(value)) return DASH;
    if (unit === 'share') return percent.format(Number(value));
    if (unit === '%') return percent.format(Number(value) / 100);
    if (unit === 'bytes') return bytes(Number(value), one);
    if (unit === 'ms') return duration(Number(value), one);
    if (unit === 's') return duration(Number(value) * SECOND, one);
    // A rate: three digits, or the whole number.
    if (unit.startsWith('/'))
      return (Math.abs(Number(value)) < 100 ? fine : whole).format(Number(value));
    if (CURRENCIES.has(unit)) return moneyOf(unit).format(/** @type {any} */ (value));
    return number(value);
  };

  return {
    number,
    /** With two digits after the point. @param {unknown} value */
    cents: (value) => (isNumeric(value) ? two.format(/** @type {any} */ (value)) : DASH),
    /** With all its digits. @param {unknown} value */
    exact: (value) => (isNumeric(value) ? exact.format(/** @type {any} */ (value)) : DASH),
    /** As an axis or a narrow place has it: 1.2K. @param {unknown} value */
    short: (value) =>
      isNumeric(value)
        ? Math.abs(Number(value)) < 10000
          ? number(value)
          : compact.format(Number(value))
        : DASH,
    /** 0.0513 as 5.1 %. @param {unknown} value */
    share: (value) => (isNumeric(value) ? percent.format(Number(value)) : DASH),
    withUnit,
    /**
     * A number with the word for what it counts: 1 event, 2 events.
     * @param {number} value @param {string} one @param {string} [many]
     */
    count: (value, one, many) => `${number(value)} ${plural(value, one, many)}`,
    /**
     * As an axis has it, short and with what the unit makes of it: 1.2K, 5.1 %, 3 MiB.
     * @param {number} value
     * @param {string} unit
     */
    axis: (value, unit) =>
      isWritten(unit)
        ? withUnit(value, unit)
        : Math.abs(value) < 1000
          ? number(value)
          : compact.format(value),
    /** Milliseconds as 1 h 12 min. @param {unknown} value */
    duration: (value) => (isNumeric(value) ? duration(Number(value), one) : DASH),
    /** @param {unknown} value */
    bytes: (value) => (isNumeric(value) ? bytes(Number(value), one) : DASH),
    /** Date and time to the second. @param {unknown} value */
    dateTime: (value) => when(millis(value), full),
    /** @param {unknown} value */
    date: (value) => when(millis(value), day),
    /** Time of day to the second. @param {unknown} value */
    clock: (value) => when(millis(value), clock),
    /** Time of day to the minute. @param {unknown} value */
    minutes: (value) => when(millis(value), minutes),
    /** Day without year. @param {unknown} value */
    shortDay: (value) => when(millis(value), monthDay),
    /** Month without year. @param {unknown} value */
    month: (value) => when(millis(value), month),
    /** @param {unknown} value */
    year: (value) => when(millis(value), year),
    /** Day and time without year. @param {unknown} value */
    shortDateTime: (value) => when(millis(value), short),
    /** How long ago, or in how long. @param {unknown} value @param {number} now */
    ago: (value, now) => {
      const time = millis(value);
      if (time === undefined) return DASH;
      const gap = time - now;
      const size = Math.abs(gap);
      // Clocks differ.
      if (gap > 0 && size < MINUTE) return 'just now';
      if (size < MINUTE) return relative.format(Math.round(gap / SECOND), 'second');
      if (size < HOUR) return relative.format(Math.round(gap / MINUTE), 'minute');
      if (size < 2 * DAY) return relative.format(Math.round(gap / HOUR), 'hour');
      return relative.format(Math.round(gap / DAY), 'day');
    },
  };
}

/** @typedef {ReturnType<typeof formats>} Formats */

/** @param {number} ms @param {Intl.NumberFormat} one */
function duration(ms, one) {
  const size = Math.abs(ms);
  if (size === 0) return '0 s';
  if (size < 0.001) return `${one.format(ms * 1e6)} ns`;
  if (size < 1) return `${one.format(ms * 1000)} µs`;
  if (size < SECOND) return `${one.format(ms)} ms`;
  if (size < MINUTE) return `${one.format(ms / SECOND)} s`;
  /** @type {[number, string, number, string][]} */
  const steps = [
    [DAY, 'd', HOUR, 'h'],
    [HOUR, 'h', MINUTE, 'min'],
    [MINUTE, 'min', SECOND, 's'],
  ];
  for (const [unit, name, rest, restName] of steps) {
    if (size < unit) continue;
    const whole = Math.floor(size / unit);
    const more = Math.floor((size - whole * unit) / rest);
    return `${ms < 0 ? '−' : ''}${one.format(whole)} ${name}${
      more ? ` ${one.format(more)} ${restName}` : ''
    }`;
  }
  return `${one.format(ms)} ms`;
}

/** @param {number} size @param {Intl.NumberFormat} one */
function bytes(size, one) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  let left = size;
  while (Math.abs(left) >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${one.format(left)} ${units[unit]}`;
}

/**
 * A name of a key for people: `last_seen` as `last seen`.
 * @param {string} key
 */
export function titleOf(key) {
  return key.replaceAll('_', ' ');
}
