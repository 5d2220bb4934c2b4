// Numbers to be seen at once: a large one with its change and its last hour, small ones beside each
// other, bars.

import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { isNumeric } from '../lib/format.js';
import { below } from '../lib/pointer.js';
import { extremes } from '../lib/scale.js';
import { colour, seen } from './colour.js';
import { Num, Unit } from './values.js';

/** @import {Picture} from '../types' */

/** Bars that are shown; the rest is summed up. */
const BARS = 12;

/**
 * @param {{ value: any, at: string, title: string, unit?: string, help?: string,
 *   change?: { ratio: number } | undefined, since?: string, spark?: (number | null)[],
 *   recent?: object }} props `since` says of which time spark and change are, as that of the value
 *   may be another; `recent` are attributes that say from which answer they are
 */
export function Figure({ value, at, title, unit = '', help, change, since, spark, recent }) {
  return html`<div class="figure">
    <p class="value" title=${help}>
      <${Num} value=${value} at=${at} unit=${unit} />
      <${Unit} unit=${unit} />
      <span class="name">${` ${title}`}</span>
    </p>
    ${
      since
        ? html`<p class="change" ...${recent}>
            ${since}${' '}
            ${change ? html`<${Change} change=${change} /> compared with the hour before` : null}
          </p>`
        : null
    }
    ${spark ? html`<${Spark} values=${spark} label=${`${title}: ${since ?? 'course'}`} />` : null}
  </div>`;
}

/**
 * A change with a sign that needs no colour.
 * @param {{ change: { ratio: number } | undefined }} props
 */
export function Change({ change }) {
  if (!change) return null;
  const { ratio } = change;
  const still = Math.abs(ratio) < 0.0005;
  const [sign, tone] = still ? ['●', 'dim'] : ratio > 0 ? ['▲', 'good'] : ['▼', 'bad'];
  const word = still ? 'unchanged' : ratio > 0 ? 'up' : 'down';
  return html`<b class=${tone} data-change=${ratio}>
    <span aria-hidden="true">${sign} </span>
    <span class="sr-only">${word} </span>
    ${fmt.value.share(Math.abs(ratio))}
  </b>`;
}

/**
 * The course of a number, without axes. A screen reader hears its first, last, least and largest.
 * @param {{ values: (number | null)[], label: string }} props
 */
export function Spark({ values, label }) {
  const points = values.map((value, at) => ({ value, at })).filter((one) => one.value !== null);
  if (points.length < 2) return html`<svg class="spark" aria-hidden="true"></svg>`;
  const numbers = points.map((one) => Number(one.value));
  const [lowest, most] = extremes(numbers);
  const least = Math.min(0, lowest);
  const [width, height] = [values.length - 1, 34];
  const y = (/** @type {number} */ value) =>
    height - ((value - least) / (most - least || 1)) * (height - 3);
  const line = points
    .map((one, index) => `${index ? 'L' : 'M'}${one.at} ${y(Number(one.value)).toFixed(2)}`)
    .join('');
  const area = `${line}L${points.at(-1)?.at} ${height}L${points[0].at} ${height}Z`;
  const f = fmt.value;
  const said =
    `${label}; from ${f.short(numbers[0])} to ${f.short(numbers.at(-1))}, ` +
    `least ${f.short(lowest)}, largest ${f.short(most)}`;
  return html`<svg
    class="spark"
    viewBox=${`0 0 ${width} ${height}`}
    preserveAspectRatio="none"
    role="img"
    aria-label=${said}
  >
    <path class="area" d=${area} />
    <path class="line" d=${line} />
  </svg>`;
}

/**
 * Figures as facts.
 * @param {Picture[]} pictures @param {(at: string) => any} value
 * @returns {import('./facts.js').Fact[]}
 */
export function factsOf(pictures, value) {
  return pictures.map(({ at, title, unit, help }) => [
    title,
    html`<${Num} value=${value(at)} at=${at} unit=${unit} /><${Unit} unit=${unit} />`,
    help,
  ]);
}

/**
 * A map of numbers, largest first.
 * @param {{ values: Record<string, any>, at: string, unit?: string, label: string,
 *   most?: number }} props
 */
export function Bars({ values, at, unit = '', label, most = BARS }) {
  const entries = Object.entries(values).filter(([, value]) => isNumeric(value));
  seen(Object.keys(values));
  entries.sort(([a, x], [b, y]) => Number(y) - Number(x) || (a < b ? -1 : 1));
  const sum = entries.reduce((all, [, value]) => all + Number(value), 0);
  const [, largest] = extremes(
    entries.map(([, value]) => Math.abs(Number(value))),
    0,
  );
  const [shown, rest] = [entries.slice(0, most), entries.slice(most)];
  const others = rest.reduce((all, [, value]) => all + Number(value), 0);
  const parts =
    sum > 0 && !['%', 'share'].includes(unit) && entries.every(([, value]) => Number(value) >= 0);
  const part = (/** @type {number} */ value) =>
    parts ? html`<span class="part">${fmt.value.share(value / sum)}</span>` : html`<span></span>`;
  if (entries.length === 0) return html`<p class="dim">nothing counted</p>`;
  return html`<ul class="bars" aria-label=${label}>
    ${shown.map(
      ([key, value]) => html`<li key=${key}>
        <bdi class="key" title=${key}>${key}</bdi>
        <span class="track" aria-hidden="true">
          <i style=${{
            width: `${largest ? (Math.abs(Number(value)) / largest) * 100 : 0}%`,
            background: colour(key),
          }}></i>
        </span>
        <span class="amount"><${Num} value=${value} at=${below(at, key)} unit=${unit} /></span>
        ${part(Number(value))}
      </li>`,
    )}
    ${
      rest.length > 0
        ? html`<li key="">
            <span class="key dim">${fmt.value.count(rest.length, 'other')}</span>
            <span class="track" aria-hidden="true"></span>
            <span class="amount dim">${fmt.value.withUnit(others, unit)}</span>
            ${part(others)}
          </li>`
        : null
    }
  </ul>`;
}
