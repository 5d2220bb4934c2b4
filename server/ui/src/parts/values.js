// Single values: numbers, times, ids. What the server said is in the element, what people read in
// its text.

import { now } from '../data/clock.js';
import { fmt } from '../data/settings.js';
import { html } from '../html.js';
import { isNumeric, isWritten, millis } from '../lib/format.js';

/** @import {IdKind} from '../types' */

/**
 * A number of an answer. `at` is its JSON pointer in the result, so that it can be proved.
 * @param {{ value: any, at?: string, unit?: string, short?: boolean, cents?: boolean,
 *   class?: string }} props `cents`: with two digits after the point, where there is no unit
 */
export function Num({ value, at, unit = '', short = false, cents = false, class: name }) {
  const text = unit
    ? fmt.value.withUnit(value, unit)
    : short
      ? fmt.value.short(value)
      : fmt.value[cents ? 'cents' : 'number'](value);
  const whole = isNumeric(value) ? fmt.value.exact(value) : undefined;
  return html`<data
    class=${name}
    value=${value === undefined ? '' : String(value)}
    data-at=${at}
    title=${whole === text ? undefined : whole}
  >
    ${text}
  </data>`;
}

/**
 * A number with its unit behind it, where the text of the number does not say it.
 * @param {{ unit: string }} props
 */
export function Unit({ unit }) {
  return !unit || isWritten(unit) ? null : html`<span class="unit">${`\u00a0${unit}`}</span>`;
}

/**
 * A time. `as`: `full`, `clock`, `minutes`, `date`, or `ago` (the whole then is the title).
 * @param {{ value: any, as?: 'full' | 'clock' | 'minutes' | 'date' | 'ago', at?: string,
 *   class?: string }} props
 */
export function Time({ value, as = 'full', at, class: name }) {
  const time = millis(value);
  if (time === undefined) return html`<span class="dim">–</span>`;
  const f = fmt.value;
  const text = {
    full: f.dateTime,
    clock: f.clock,
    minutes: f.minutes,
    date: f.date,
    ago: (/** @type {any} */ of) => f.ago(of, now.value),
  }[as](time);
  return html`<time
    class=${name}
    datetime=${new Date(time).toISOString()}
    data-at=${at}
    title=${as === 'full' ? undefined : f.dateTime(time)}
  >
    ${text}
  </time>`;
}

/**
 * A user or product: its name if it is known, and its id, always as text.
 * @param {{ id: any, name?: string | null, kind?: IdKind, at?: string, href?: string }} props
 */
export function Id({ id, name, kind, at, href }) {
  const text = String(id ?? '–');
  const code = html`<data class="code" value=${text} data-at=${at} title=${text} dir="auto">
    ${text}
  </data>`;
  const label = name ? html`<bdi class="name" title=${name}>${name}</bdi>${code}` : code;
  if (href) return html`<a class="id" href=${href} data-kind=${kind}>${label}</a>`;
  return html`<span class="id" data-kind=${kind}>${label}</span>`;
}

/** A text of an author, in which `code` stands in backticks. @param {{ text: string }} props */
export function Prose({ text }) {
  return text.split('`').map((part, at) => (at % 2 ? html`<code key=${at}>${part}</code>` : part));
}

/**
 * Several lines of a stranger's text; what is beyond them is in the title.
 * @param {{ text: any }} props
 */
export function Long({ text }) {
  return html`<bdi class="long" title=${text}>${text}</bdi>`;
}

/**
 * Text of a stranger: as text, in its own direction, cut where there is no room.
 * @param {{ text: any, class?: string }} props
 */
export function Foreign({ text, class: name = '' }) {
  const whole = String(text);
  return html`<bdi class=${`cut ${name}`} title=${whole}>${whole}</bdi>`;
}
