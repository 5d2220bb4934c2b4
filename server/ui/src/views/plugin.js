// One metric: its status and why, what it costs, reads and keeps, its revisions, its schemas, and
// what can be done about it.

import { useEffect } from 'preact/hooks';
import { html } from '../html.js';
import { post } from '../data/api.js';
import { catalogueState, descriptor, refreshCatalogue } from '../data/catalogue.js';
import { life } from '../data/life.js';
import { useLoaded } from '../data/loaded.js';
import { Card, View } from '../parts/card.js';
import { Change, Changes } from '../parts/changes.js';
import { Facts } from '../parts/facts.js';
import { MetricTag, Pending, Progress, State } from '../parts/state.js';
import { Tree } from '../parts/tree.js';
import { Foreign, Long, Prose, Time } from '../parts/values.js';
import { href, route } from '../router.js';
import { MetricLife } from './metric-life.js';
import { Revisions } from './revisions.js';

/** @import {Descriptor} from '../types' */

/** How often is looked while history is counted. */
const SOON_MS = 2000;

/** What to do about a state. @type {Record<string, string>} */
const REMEDIES = {
  quarantined: 'Fix the cause, then put a new build of the plugin into its folder.',
  retired: 'Restore its file or section to resume it, or purge its stored data.',
};

/** @param {{ metric: Descriptor }} props */
function How({ metric }) {
  const { state, reason, since, reads, tiers, plugin, progress } = metric;
  return html`<${Card} title="Status" stale=${catalogueState.value.problem !== undefined}>
    <${State}
      kind=${state === 'active' ? 'live' : state}
      title=${state === 'active' ? 'Active' : undefined}
      remedy=${REMEDIES[state]}
    >
      ${reason ? html`<${Long} text=${reason} />` : null}
      <p>since <${Time} value=${since} /></p>
    <//>
    ${progress ? html`<${Progress} ...${progress} />` : null}
    <${Facts}
      class="pairs"
      of=${[
        ['plugin', html`<bdi>${plugin}</bdi>`],
        [
          'reads',
          reads.length === 0
            ? 'no columns'
            : reads.map((column) => html`<code key=${column}><bdi>${column}</bdi></code> `),
        ],
        [
          'keeps',
          tiers.length === 0
            ? 'totals'
            : tiers
                .map(({ pane, keep }) => `${pane} for ${keep === 'all' ? 'all time' : keep}`)
                .join(' · '),
        ],
      ]}
    />
  <//>`;
}

/** @param {{ metric: Descriptor, again: () => void }} props */
function Orders({ metric, again }) {
  const { name, state, newer, before } = metric;
  /** @param {string} change @param {boolean} dry */
  const order = async (change, dry) => {
    const { would, done } = await post(
      `api/metrics/${encodeURIComponent(name)}/${change}${dry ? '?dry_run=true' : ''}`,
      {},
    );
    return html`<bdi>${would ?? done}</bdi>`;
  };
  const onCarried = () => {
    refreshCatalogue();
    again();
  };
  const both = (/** @type {string} */ change) => ({
    foresee: () => order(change, true),
    carryOut: () => order(change, false),
    onCarried,
  });
  return html`<${Changes} title="Actions">
    <${Change}
      action="Promote"
      title=${`Promote the newer revision of ${name}?`}
      disabled=${!newer}
      ...${both('promote')}
    >
      ${
        newer
          ? html`Switches to ${newer.version} (<code>${newer.revision}</code>).`
          : 'There is no newer revision.'
      }
    <//>
    <${Change}
      action="Roll back"
      title=${`Roll ${name} back?`}
      disabled=${!before}
      ...${both('rollback')}
    >
      ${
        before
          ? html`
              Switches back to ${before.version} (<code>${before.revision}</code>)${
                before.until ? html`, possible until <${Time} value=${before.until} />` : null
              }.
            `
          : 'No previous revision is kept.'
      }
    <//>
    <${Change}
      action="Purge"
      danger
      title=${`Purge the stored data of ${name}?`}
      disabled=${state !== 'retired'}
      ...${both('purge')}
    >
      Deletes what it has counted.${
        state === 'retired' ? '' : ' It is served: first remove its file or section.'
      }
    <//>
  <//>`;
}

/** @param {{ title: string, value: any, open?: number }} props */
function Document({ title, value, open = 1 }) {
  return html`<details class="below">
    <summary><h3>${title}</h3></summary>
    <${Tree} value=${value} open=${open} />
  </details>`;
}

/** @param {{ metric: Descriptor }} props */
function Whole({ metric }) {
  const { name, state, progress, newer, before } = metric;
  const counts = Boolean(progress ?? newer?.progress);
  useEffect(() => {
    if (!counts) return undefined;
    const timer = setInterval(refreshCatalogue, SOON_MS);
    return () => clearInterval(timer);
  }, [counts]);
  const changed = [
    state,
    newer?.revision,
    newer?.state,
    before?.revision,
    life.value.find((one) => one.name === name)?.id,
  ];
  const found = useLoaded(
    state === 'retired' ? undefined : `api/metrics/${encodeURIComponent(name)}/versions`,
    { key: changed.join() },
  );
  return html`<div class="two wide-first">
    <div class="stack">
      <${How} metric=${metric} />
      <${Revisions} metric=${metric} found=${found} />
    </div>
    <div class="stack">
      <${Card} title="Definition">
        <${Document} title="Configuration" value=${metric.config} open=${3} />
        <${Document} title="Params schema" value=${metric.params_schema} />
        <${Document} title="Result schema" value=${metric.result_schema} />
      <//>
      <${Orders} metric=${metric} again=${found.again} />
      <${MetricLife} of=${name} />
    </div>
  </div>`;
}

export function Plugin() {
  const [name] = route.value.path;
  const { data } = catalogueState.value;
  const metric = descriptor(name);
  const title = html`<span class="row">
    ${'Metric '}<${Foreign} text=${name} />
    ${metric ? html`<${MetricTag} state=${metric.state} />` : null}
  </span>`;
  return html`<${View}
    title=${title}
    name=${name}
    json=${metric ? `api/metrics/${encodeURIComponent(name)}` : 'api/metrics'}
    lead=${
      metric
        ? html`<span class="long" title=${metric.summary}>
            <${Prose} text=${metric.summary} />
          </span>`
        : null
    }
    tools=${html`
      ${
        metric && metric.state !== 'retired'
          ? html`<a class="button" href=${href('explore', [name])}>Explore</a>`
          : null
      }
      <a href=${href('plugins')}>All metrics</a>
    `}
  >
    ${metric ? html`<${Whole} key=${name} metric=${metric} />` : null}
    <${Pending} of=${catalogueState.value} centre />
    ${
      !metric && data
        ? html`<${State}
            kind="nothing"
            centre
            title=${html`No metric is called <${Foreign} text=${name} />`}
          >
            It may have been refused, or purged: <a href=${href('plugins')}>all metrics</a>.
          <//>`
        : null
    }
  <//>`;
}
