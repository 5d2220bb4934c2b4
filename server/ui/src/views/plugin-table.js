// The metrics and what they cost, in a row each, and the files that were refused.

import { html } from '../html.js';
import { catalogueState } from '../data/catalogue.js';
import { fmt } from '../data/settings.js';
import { live } from '../data/silence.js';
import { Card } from '../parts/card.js';
import { MetricMark, State } from '../parts/state.js';
import { Table } from '../parts/table.js';
import { Foreign, Long, Num, Time } from '../parts/values.js';
import { href } from '../router.js';

/** @import {Descriptor, Rejected} from '../types' */

/** What a row says of its state. @param {Descriptor} metric */
function words({ state, progress, reason, events_failed: failed }) {
  if (progress)
    return `${fmt.value.share(progress.done)}${
      progress.eta_s === undefined ? '' : `, ${fmt.value.duration(progress.eta_s * 1000)} to go`
    }`;
  return [state, reason, failed ? `${fmt.value.number(failed)} events failed` : '']
    .filter(Boolean)
    .join(': ');
}

/** @type {import('../parts/table.js').TableColumn<Descriptor>[]} */
export const COLUMNS = [
  {
    key: 'name',
    title: 'metric',
    head: true,
    class: 'text',
    sort: (metric) => metric.name,
    cell: (metric) =>
      html`<a href=${href('plugins', [metric.name])}>
        <bdi class="cut" title=${metric.summary}>${metric.name}</bdi>
      </a>`,
  },
  {
    key: 'version',
    class: 'spare',
    sort: (metric) => metric.version,
    cell: (metric) => metric.version,
  },
  {
    key: 'cost',
    title: 'CPU per event',
    end: true,
    class: 'extra',
    sort: (metric) => metric.cost.ns_per_event,
    cell: (metric) => fmt.value.duration(metric.cost.ns_per_event / 1e6),
  },
  {
    key: 'cells',
    end: true,
    class: 'spare',
    help: 'stored values',
    sort: (metric) => metric.cost.cells,
    cell: (metric) => html`<${Num} value=${metric.cost.cells} />`,
  },
  {
    key: 'bytes',
    title: 'memory',
    end: true,
    class: 'spare',
    sort: (metric) => metric.cost.bytes,
    cell: (metric) => html`<${Num} value=${metric.cost.bytes} unit="bytes" />`,
  },
  {
    key: 'state',
    class: 'text',
    sort: (metric) => metric.state,
    cell: (metric) =>
      html`<${MetricMark} state=${metric.state}>
        <span class="cut" title=${words(metric)}>${words(metric)}</span>
      <//>`,
  },
];

/** @param {{ all: Rejected[] }} props */
export function Refused({ all }) {
  return all.map(
    ({ file, since, reason }) =>
      html`<${State}
        key=${file}
        kind="refused"
        title=${html`
          <${Foreign} text=${file} /> <span class="dim small">
            refused <${Time} value=${since} as="ago" />
          </span>
        `}
      >
        <${Long} text=${reason} />
      <//>`,
  );
}

/** @param {{ metrics: Descriptor[], rejected: Rejected[] }} props */
export function PluginTable({ metrics, rejected }) {
  const served = metrics.filter((metric) => metric.state === 'active').length;
  const note = [
    `${fmt.value.number(served)} active`,
    rejected.length ? `${fmt.value.number(rejected.length)} refused` : '',
  ]
    .filter(Boolean)
    .join(' · ');
  return html`<${Card}
    title="Plugins"
    href=${href('plugins')}
    tools=${note}
    stale=${catalogueState.value.problem !== undefined || !live.value}
  >
    <${Table}
      caption="Metrics, what they cost and how they are"
      columns=${COLUMNS}
      rows=${metrics}
      rowKey=${(/** @type {Descriptor} */ metric) => metric.name}
      most=${20}
      empty="none"
    />
    <${Refused} all=${rejected} />
  <//>`;
}
