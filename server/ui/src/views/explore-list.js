// The metrics to choose from, by a part of their name or of what they say of themselves.

import { useState } from 'preact/hooks';
import { html } from '../html.js';
import { Card } from '../parts/card.js';
import { MetricTag } from '../parts/state.js';
import { Prose } from '../parts/values.js';
import { go, href } from '../router.js';
import { NoMetric } from './no-metric.js';

/** @import {Descriptor} from '../types' */

/** @param {{ metrics: Descriptor[] }} props */
export function MetricList({ metrics }) {
  const [text, setText] = useState('');
  const sought = text.trim().toLowerCase();
  const found = metrics.filter(({ name, summary }) =>
    `${name} ${name.replaceAll('_', ' ')} ${summary}`.toLowerCase().includes(sought),
  );
  const first = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (found[0]) go(href('explore', [found[0].name]));
  };
  if (metrics.length === 0) return html`<${NoMetric} />`;
  return html`<${Card} title="Metrics" class="explore-list">
    <form onSubmit=${first}>
      <input
        type="search"
        aria-label="search metrics"
        placeholder="Search; Enter opens the first"
        value=${text}
        autocomplete="off"
        spellcheck="false"
        onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
      />
    </form>
    <ul>
      ${found.map(
        ({ name, summary, state }) => html`<li key=${name}>
          <div>
            <a href=${href('explore', [name])}><bdi>${name}</bdi></a>
            ${state === 'active' ? null : html` <${MetricTag} state=${state} />`}
          </div>
          <span class="help"><${Prose} text=${summary} /></span>
        </li>`,
      )}
    </ul>
    <p class="dim" role="status">${found.length === 0 ? 'No metric matches.' : ''}</p>
  <//>`;
}
