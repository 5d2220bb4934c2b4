// One event as a line of a list: its type, whose it is, what else it says, where it is and when it
// was.

import { html } from '../html.js';
import { colour } from '../parts/colour.js';
import { Foreign, Time } from '../parts/values.js';
import { href } from '../router.js';

/** @import {TallyEvent} from '../types' */

/** Height of a line, pixels. */
export const LINE = 32;
/** Characters of the other fields: the record shows them whole. */
const REST = 240;
const MAPPED = new Set(['event_id', 'user_id', 'product_id', 'event_type', 'timestamp']);

/** Partition and offset of a record. @param {string} position the offset after it */
export function placeOf(position) {
  const [partition, next] = position.split(':');
  return [partition, Number(next) - 1];
}

/** @param {TallyEvent} event */
function rest(event) {
  let text = '';
  for (const [key, value] of Object.entries(event)) {
    if (MAPPED.has(key)) continue;
    text += `${text ? ' · ' : ''}${key} ${
      typeof value === 'string' ? value : JSON.stringify(value)
    }`;
    if (text.length > REST) return `${text.slice(0, REST)}…`;
  }
  return text;
}

/** @param {{ position: string, event: TallyEvent, tie?: object, current?: boolean }} props */
export function EventRow({ position, event, tie = {}, current = false }) {
  const place = placeOf(position);
  const { user_id: user, product_id: product, event_type: type, timestamp } = event;
  return html`<div class="event">
    <span class="dot" style=${{ background: colour(type) }} aria-hidden="true"></span>
    <a ...${tie} href=${href('records', place)} aria-current=${current ? 'true' : undefined}>
      <bdi>${type}</bdi>
    </a>
    <span class="who"><span class="dim small">user </span><${Foreign} text=${user ?? '–'} /></span>
    <span class="who">
      <span class="dim small">product </span>
      <${Foreign} text=${product ?? '–'} />
    </span>
    <bdi class="rest">${rest(event)}</bdi>
    <span class="place">${place.join('/')}</span>
    <${Time} value=${timestamp} as="clock" />
  </div>`;
}
