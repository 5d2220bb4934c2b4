// Plugins: all metrics with how they are and what they cost, the files and sections that were
// refused, and what happens to them. One metric whole is in Plugin.

import { html } from '../html.js';
import { catalogueState } from '../data/catalogue.js';
import { fmt } from '../data/settings.js';
import { Card, View } from '../parts/card.js';
import { MetricMark, Pending, State } from '../parts/state.js';
import { Table } from '../parts/table.js';
import { Num, Time } from '../parts/values.js';
import { href } from '../router.js';
import { MetricLife } from './metric-life.js';
import { NoMetric } from './no-metric.js';
import { COLUMNS, Refused } from './plugin-table.js';

/** @import {Descriptor} from '../types' */

const [NAME, ...COSTS] = COLUMNS;
const STATE = /** @type {import('../parts/table.js').TableColumn<Descriptor>} */ (COSTS.pop());

/** @type {import('../parts/table.js').TableColumn<Descriptor>[]} */
const ALL = [
  NAME,
  STATE,
  ...COSTS,
  {
    key: 'errors',
    title: 'failed events',
    end: true,
    class: 'spare',
    help: 'its code failed on them; none of its numbers include them',
    sort: (metric) => metric.events_failed ?? 0,
    cell: ({ events_failed: failed = 0 }) =>
      html`<${Num} class=${failed ? 'bad' : ''} value=${failed} />`,
  },
  {
    key: 'history',
    class: 'spare',
    help: 'the time from which it has counted every event',
    sort: (metric) => metric.history.from,
    cell: ({ history: { state, from } }) =>
      html`
        ${state}
        ${' '}
        ${from ? html`<span class="dim">from <${Time} value=${from} as="date" /></span>` : null}
      `,
  },
  {
    key: 'beside',
    title: 'other revision',
    class: 'spare',
    cell: ({ newer, before }) =>
      html`
        ${
          newer
            ? html`
                <${MetricMark} state=${newer.state}>
                  ${newer.version}
                  ${' '}
                  ${newer.progress ? fmt.value.share(newer.progress.done) : 'waiting'}
                <//> `
            : null
        }
        ${before ? html`<${MetricMark} state="retired">${before.version} (previous)<//>` : null}
        ${(newer ?? before) ? null : html`<span class="dim">–</span>`}
      `,
  },
];

export function Plugins() {
  const { data, problem, at } = catalogueState.value;
  const metrics = data?.metrics ?? [];
  const rejected = data?.rejected ?? [];
  const served = metrics.filter((metric) => metric.state === 'active').length;
  const lead = data
    ? `${fmt.value.number(served)} of ${fmt.value.number(metrics.length)} metrics active${
        rejected.length > 0 ? ` · ${fmt.value.number(rejected.length)} refused` : ''
      }`
    : '';
  return html`<${View}
    title="Plugins"
    json="api/metrics"
    lead=${lead}
    tools=${html`<a class="button" href=${href('new')}>New metric</a>`}
  >
    <${Pending} of=${catalogueState.value} centre />
    ${
      data
        ? html`<div class="stack">
            <${Card}
              title="Metrics"
              stale=${problem !== undefined}
              note=${problem ? html`as of <${Time} value=${at} as="clock" />` : null}
            >
              <${Table}
                caption="Metrics, how they are and what they cost"
                columns=${ALL}
                stacks
                rows=${metrics}
                rowKey=${(/** @type {Descriptor} */ metric) => metric.name}
                most=${100}
                empty=${html`<${NoMetric} />`}
              />
            <//>
            <div class="two">
              <${Card} title="Refused">
                ${
                  rejected.length === 0
                    ? html`<${State} kind="live" title="Nothing refused" />`
                    : null
                }
                <${Refused} all=${rejected} />
              <//>
              <${MetricLife} />
            </div>
          </div>`
        : null
    }
  <//>`;
}
