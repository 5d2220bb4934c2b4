// What is wrong with the whole engine, or with the way to it, above every view: the connection, and
// each line of readiness that is not in order, with what to do.

import { html } from './html.js';
import { now } from './data/clock.js';
import { fmt } from './data/settings.js';
import { silent } from './data/silence.js';
import { connection, retryNow } from './data/socket.js';
import { outdated, status } from './data/status.js';
import { Icon } from './parts/icons.js';
import { quarantineKind, STATES } from './parts/state.js';
import { Time } from './parts/values.js';
import { href } from './router.js';

/** @import {Status} from './types' */

/** States of lines of readiness. @type {Record<string, string>} */
const LINES = {
  plugins: 'no-metric',
  store: 'store-away',
  log: 'log-away',
  kafka: 'log-away',
  counting: 'stalled',
  writing: 'writing',
  catalogue: 'catalogue-away',
};

/** What is to be known of a connection that is not live. */
const LOST = {
  connecting: '',
  reconnecting: 'The data shown is old; it resumes by itself.',
  stopped: 'The last data is shown. Start the engine again; this page resumes by itself.',
};

/**
 * A line with the picture of its state.
 * @param {{ state: string, title?: string, bad?: boolean, children?: any }} props
 */
function Notice({ state, title, bad = false, children }) {
  const { icon, title: known } = STATES[state] ?? STATES.problem;
  return html`<div class=${`notice ${bad ? 'bad' : ''}`} data-state=${state}>
    <${Icon} name=${icon} />
    <strong>${title ?? known}</strong>
    ${children}
  </div>`;
}

/** A connection that comes back at once needs no notice. */
const QUIET_MS = 1200;

function Lost() {
  const { state, since, retryAt } = connection.value;
  if (state === 'live' || now.value - since < QUIET_MS) return null;
  const wait = retryAt ? Math.max(0, retryAt - now.value) : 0;
  return html`<${Notice}
    state=${state}
    title=${state === 'connecting' ? 'Connecting to the engine' : undefined}
    bad=${state === 'stopped'}
  >
    <span>since <${Time} value=${since} as="clock" />. ${LOST[state]}</span>
    <span class="dim" aria-hidden="true">
      ${
        wait > 500
          ? `next attempt in ${fmt.value.duration(Math.ceil(wait / 1000) * 1000)}`
          : 'trying now'
      }
    </span>
    <button type="button" onClick=${retryNow}>Try now</button>
  <//>`;
}

/** It is connected, and says nothing. */
function Silent() {
  return silent.value === undefined
    ? null
    : html`<${Notice} state="unreachable" bad>
        <span>
          No answer since <${Time} value=${silent.value} as="clock" />. The data shown is old; it
          resumes by itself.
        </span>
      <//>`;
}

/** When a failing check was first seen here. @type {Map<string, number>} */
const firstSeen = new Map();

/** @param {import('./types').ReadinessLine} line */
function Check({ name, why, remedy, needed }) {
  return html`<${Notice}
    state=${LINES[name] ?? name}
    title=${LINES[name] ? undefined : name}
    bad=${needed}
  >
    <bdi title=${why}>${why}</bdi>
    ${remedy ? html`<span>What to do: ${remedy}.</span>` : null}
    <span class="dim">seen since <${Time} value=${firstSeen.get(name)} as="clock" /></span>
    <a href=${href('health')}>Health</a>
  <//>`;
}

/** Metrics that were stopped because state has taken its share of memory. */
function OverMemory() {
  const {
    metrics,
    memory: { state },
  } = /** @type {Status} */ (status.value);
  const stopped = metrics.filter((metric) => quarantineKind(metric.reason) === 'over-memory');
  if (stopped.length === 0) return null;
  return html`<${Notice} state="over-memory" title="Metrics are over their memory" bad>
    <span>
      ${stopped.map(
        ({ name }, index) => html`${index ? ', ' : ''}<bdi class="cut" title=${name}>${name}</bdi>`,
      )} stopped${
        state.used === undefined
          ? ''
          : `: state holds ${fmt.value.bytes(state.used)} of ${fmt.value.bytes(state.limit)}`
      }.
    </span>
    <span class="dim">
      Raise [limits] memory, shorten retention, or retire a metric; counting continues by itself.
    </span>
    <a href=${href('health')}>Health</a>
  <//>`;
}

/** The engine was replaced while the page was open. */
function Outdated() {
  if (!outdated.value) return null;
  const { page, engine } = outdated.value;
  return html`<${Notice} state="outdated">
    <span>The engine is ${engine}, this page is ${page}.</span>
    <button type="button" onClick=${() => location.reload()}>Reload</button>
  <//>`;
}

export function Notices() {
  const faults = (status.value?.readiness ?? []).filter((line) => !line.ok);
  const names = faults.map(({ name }) => name);
  for (const name of firstSeen.keys()) if (!names.includes(name)) firstSeen.delete(name);
  for (const name of names) if (!firstSeen.has(name)) firstSeen.set(name, Date.now());
  return html`<div role="status" class="no-print">
    <${Lost} />
    <${Silent} />
    <${Outdated} />
    ${status.value ? html`<${OverMemory} />` : null}
    ${faults.map((line) => html`<${Check} key=${line.name} ...${line} />`)}
  </div>`;
}
