// Any JSON as a tree: what has no picture of its own. Foreign text stays text; large lists show a
// part, and what is closed is not made.

import { useState } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { below } from '../lib/pointer.js';
import { Foreign, Num, Time } from './values.js';

/** Members shown before more is asked for. */
const MOST = 50;
/** Deepest level that is drawn. */
const DEEPEST = 24;

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;

/** @param {{ value: any, at: string }} props */
function Leaf({ value, at }) {
  if (typeof value === 'number') return html`<${Num} value=${value} at=${at} />`;
  if (typeof value === 'string' && ISO.test(value))
    return html`<${Time} value=${value} at=${at} />`;
  if (typeof value === 'string') return html`<${Foreign} text=${value} />`;
  return html`<span class="dim">${String(value)}</span>`;
}

/** How much there is in a list or an object. @param {any} value */
const sizeOf = (value) =>
  Array.isArray(value)
    ? fmt.value.count(value.length, 'entry', 'entries')
    : fmt.value.count(Object.keys(value).length, 'member');

/**
 * @param {{ value: any, at?: string, open?: number, label?: string,
 *   depth?: number }} props `open`: levels that are open at first
 */
export function Tree({ value, at = '', open = 2, label, depth = 0 }) {
  if (value === null || typeof value !== 'object')
    return html`<span class="tree">
      ${label ? html`<span class="key">${label}</span>` : null}
      <${Leaf} value=${value} at=${at} />
    </span>`;
  if (depth >= DEEPEST) return html`<span class="dim">${sizeOf(value)}, too deep to show</span>`;
  if (depth === 0 && !label)
    return html`<div class="tree"><${Members} ...${{ value, at, open, depth }} /></div>`;
  return html`<${Branch} ...${{ value, at, open, label, depth }} />`;
}

/**
 * What can be opened; its members are made once it was.
 * @param {{ value: any, at: string, open: number, label?: string, depth: number }} props
 */
function Branch({ value, at, open, label, depth }) {
  const [opened, setOpened] = useState(open > 0);
  return html`<details class="tree" open=${open > 0} onToggle=${() => setOpened(true)}>
    <summary>
      ${label ? html`<bdi class="key">${label}</bdi>` : null}
      <span class="dim">${sizeOf(value)}</span>
    </summary>
    ${opened ? html`<${Members} ...${{ value, at, open, depth }} />` : null}
  </details>`;
}

/** @param {{ value: any, at: string, open: number, depth: number }} props */
function Members({ value, at, open, depth }) {
  const [limit, setLimit] = useState(MOST);
  const entries = Object.entries(value);
  if (entries.length === 0) return html`<span class="dim">empty</span>`;
  return html`<ul>
    ${entries.slice(0, limit).map(
      ([key, one]) =>
        html`<li key=${key}>
          ${
            one !== null && typeof one === 'object'
              ? html`<${Tree}
                  value=${one}
                  at=${below(at, key)}
                  open=${open - 1}
                  label=${key}
                  depth=${depth + 1}
                />`
              : html`<bdi class="key">${key}</bdi><${Leaf} value=${one} at=${below(at, key)} />`
          }
        </li>`,
    )}
    ${
      entries.length > limit
        ? html`<li>
            <button type="button" onClick=${() => setLimit(limit + 500)}>
              ${fmt.value.number(entries.length - limit)} more
            </button>
          </li>`
        : null
    }
  </ul>`;
}

/** Whether a value is drawn on one line. @param {any} value */
export function isLeaf(value) {
  return value === null || typeof value !== 'object';
}
