// Values with their names, one after another. What is absent or empty is left out.

import { html } from '../html.js';

/** @typedef {[name: any, value: any, help?: string]} Fact */

/** @param {{ of: Fact[], class?: string, large?: boolean }} props */
export function Facts({ of, class: name = 'facts', large = false }) {
  const given = of.filter(([, value]) => value !== undefined && value !== null && value !== '');
  if (given.length === 0) return null;
  return html`<dl class=${large ? `${name} large` : name}>
    ${given.map(
      ([title, value, help], at) =>
        html`<div key=${at} title=${help}><dt>${title}</dt><dd>${value}</dd></div>`,
    )}
  </dl>`;
}
