// What happened to metrics while the page was open, as it comes.

import { html } from '../html.js';
import { life } from '../data/life.js';
import { Card } from '../parts/card.js';
import { MetricMark, State } from '../parts/state.js';
import { Foreign, Time } from '../parts/values.js';
import { href } from '../router.js';

/** @type {Record<string, string>} */
const WORDS = { active: 'is active', backfilling: 'is backfilling', rejected: 'was refused' };

/** @param {{ of?: string }} props of one metric; all without */
export function MetricLife({ of }) {
  const all = life.value.filter((one) => of === undefined || one.name === of);
  return html`<${Card} title="Activity" note="since the page was opened">
    ${
      all.length === 0
        ? html`<${State} kind="nothing" title="Nothing yet">
            Metrics that are added, backfilled, stopped or removed show up here.
          <//>`
        : null
    }
    <div
      class="life"
      role="log"
      aria-live="off"
      aria-label="activity of metrics"
      tabindex=${all.length > 0 ? 0 : undefined}
    >
      <ol>
        ${all.map(
          ({ at, id, name, state }) => html`<li key=${id}>
            <${Time} value=${at} as="clock" />
            ${
              state === 'rejected' || of !== undefined
                ? html`<${Foreign} text=${name} />`
                : html`<a href=${href('plugins', [name])}><${Foreign} text=${name} /></a>`
            }
            <${MetricMark} state=${state === 'rejected' ? 'refused' : state}>
              ${WORDS[state] ?? `is ${state}`}
            <//>
          </li>`,
        )}
      </ol>
    </div>
  <//>`;
}
