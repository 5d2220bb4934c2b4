// The pictures of every state: what is the case, why, and what to do. And the marks, words and
// lines that say the same in a row of a table.

import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { Icon } from './icons.js';
import { Copy } from './actions.js';

/** @import {Fault, Progress as Done, Warning} from '../types' */

/** @typedef {'' | 'good' | 'warn' | 'bad'} Tone */

/** @type {Record<string, { icon: string, tone: Tone, title: string }>} */
export const STATES = {
  connecting: { icon: 'connecting', tone: '', title: 'Loading' },
  live: { icon: 'live', tone: 'good', title: 'Live' },
  reconnecting: { icon: 'reconnecting', tone: 'warn', title: 'Connection lost' },
  stopped: { icon: 'stopped', tone: 'bad', title: 'The engine has stopped' },
  empty: { icon: 'empty', tone: '', title: 'No events yet' },
  nothing: { icon: 'empty', tone: '', title: 'Nothing here' },
  backfilling: { icon: 'backfilling', tone: 'warn', title: 'Counting its history' },
  quarantined: { icon: 'quarantined', tone: 'bad', title: 'Quarantined' },
  retired: { icon: 'stopped', tone: '', title: 'Retired' },
  refused: { icon: 'refused', tone: 'bad', title: 'Refused' },
  'store-away': { icon: 'store', tone: 'bad', title: 'The store is not in order' },
  stalled: { icon: 'stalled', tone: 'bad', title: 'Counting has stalled' },
  'no-metric': { icon: 'empty', tone: '', title: 'No metric is served' },
  'log-away': { icon: 'store', tone: 'bad', title: 'The log is not ready' },
  'catalogue-away': { icon: 'store', tone: 'warn', title: 'The catalogue does not answer' },
  writing: { icon: 'problem', tone: 'bad', title: 'Events are not accepted' },
  'over-memory': { icon: 'memory', tone: 'bad', title: 'Over its memory limit' },
  'params-missing': { icon: 'ask', tone: '', title: 'Needs a param' },
  large: { icon: 'memory', tone: '', title: 'Large answer' },
  unreachable: { icon: 'reconnecting', tone: 'warn', title: 'The engine does not answer' },
  outdated: { icon: 'reconnecting', tone: 'warn', title: 'A new version is running' },
  problem: { icon: 'problem', tone: 'bad', title: 'No answer' },
};

/**
 * A state with its picture. `children` say why; `remedy` says what to do; `command` can be copied.
 * @param {{ kind: string, title?: string, remedy?: any, command?: string, centre?: boolean,
 *   children?: any }} props
 */
export function State({ kind, title, remedy, command, centre = false, children }) {
  const { icon, tone, title: usual } = STATES[kind] ?? STATES.problem;
  return html`<div class=${`state ${tone} ${centre ? 'centre' : ''}`} data-state=${kind}>
    <${Icon} name=${icon} size=${34} />
    <strong>${title ?? usual}</strong>
    ${children ? html`<div class="what">${children}</div>` : null}
    ${remedy ? html`<div class="what">${remedy}</div>` : null}
    ${command ? html`<div class="what"><${Code} text=${command} label="command" /></div>` : null}
  </div>`;
}

/** Codes of the server that have a picture of their own. @type {Record<string, string>} */
const BY_CODE = {
  backfilling: 'backfilling',
  store_unavailable: 'store-away',
  unreachable: 'unreachable',
};

/** The picture of a quarantine, by its reason. @param {string | undefined} reason */
export function quarantineKind(reason = '') {
  return reason.includes('over_memory') ? 'over-memory' : 'quarantined';
}

/**
 * A failed request: its picture, what the server says of it, and where that is explained.
 * @param {{ problem: import('../data/api.js').Problem, title?: string }} props
 */
export function Failure({ problem, title }) {
  const kind =
    problem.code === 'plugin_quarantined'
      ? quarantineKind(problem.detail)
      : (BY_CODE[problem.code] ?? 'problem');
  const progress = problem.more.progress;
  return html`<${State} kind=${kind} title=${title}>
    <bdi>${problem.detail}</bdi>
    ${
      problem.status > 0 && !problem.code.startsWith('http_')
        ? html` (<a href=${`problems/${encodeURIComponent(problem.code)}`}>${problem.code}</a>)`
        : null
    }
    <${Faults} faults=${problem.errors.filter(({ detail }) => detail !== problem.detail)} />
    ${progress ? html`<${Progress} ...${progress} />` : null}
  <//>`;
}

/**
 * In place of what has not come yet: that it was asked for, or why it does not come. Nothing, once
 * it is there.
 * @param {{ of: { data?: any, problem?: import('../data/api.js').Problem }, title?: string,
 *   centre?: boolean }} props
 */
export function Pending({ of: { data, problem }, title, centre = false }) {
  if (data) return null;
  return problem
    ? html`<${Failure} problem=${problem} />`
    : html`<${State} kind="connecting" title=${title} centre=${centre} />`;
}

/**
 * In place of an answer that is too large for a card.
 * @param {{ size: number | undefined, href: string }} props `size` in characters
 */
export function Large({ size, href }) {
  return size
    ? html`<${State} kind="large" remedy=${html`<a href=${href}>Open in Explore</a>`}>
        It has ${fmt.value.bytes(size)}: too much for a card.
      <//>`
    : null;
}

/**
 * What is wrong, each with its place or without.
 * @param {{ faults: (Fault | string)[], id?: string, label?: string }} props
 */
export function Faults({ faults, id, label }) {
  if (faults.length === 0) return null;
  return html`<ul class="faults" id=${id} aria-label=${label}>
    ${faults.map((fault) => {
      const { pointer, detail } =
        typeof fault === 'string' ? { pointer: '', detail: fault } : fault;
      return html`<li class="fault" key=${pointer + detail}>
        ${pointer ? html`<code>${pointer}</code> ` : null}
        <bdi>${detail}</bdi>
      </li>`;
    })}
  </ul>`;
}

/** @param {Done} props */
export function Progress({ done, eta_s: eta }) {
  const share = Math.max(0, Math.min(1, Number(done) || 0));
  return html`<div data-state="backfilling">
    <div class="progress-text">
      <span>${fmt.value.share(share)} of its history</span>
      ${eta === undefined ? null : html`<span>${fmt.value.duration(eta * 1000)} to go</span>`}
    </div>
    <div
      class="progress"
      role="progressbar"
      aria-label="history counted"
      aria-valuemin="0"
      aria-valuemax="100"
      aria-valuenow=${Math.round(share * 100)}
    >
      <i style=${{ width: `${share * 100}%` }}></i>
    </div>
  </div>`;
}

/**
 * What an answer does not show by itself; always visible.
 * @param {{ warnings: Warning[] | undefined }} props
 */
export function Warnings({ warnings }) {
  if (!warnings?.length) return null;
  return html`<ul class="warnings" aria-label="warnings">
    ${warnings.map((one) => html`<li><b>${one.code}</b> <bdi>${one.detail}</bdi></li>`)}
  </ul>`;
}

/** @param {{ tone?: Tone, children?: any, title?: string }} props */
export function Tag({ tone = '', children, title }) {
  return html`<span class=${`tag ${tone}`} title=${title}>${children}</span>`;
}

/** @type {Record<string, { mark: string, tone: Tone }>} */
const METRIC_STATES = {
  active: { mark: '', tone: 'good' },
  backfilling: { mark: 'busy', tone: 'warn' },
  quarantined: { mark: 'bad', tone: 'bad' },
  refused: { mark: 'bad', tone: 'bad' },
  retired: { mark: 'off', tone: '' },
};

/**
 * A mark with a form of its own, and the word.
 * @param {{ mark: string, children?: any }} props the rest are attributes
 */
export function Mark({ mark, children, ...more }) {
  return html`<span class="with-mark" ...${more}>
    <span class=${`mark ${mark}`} aria-hidden="true"></span>
    ${children}
  </span>`;
}

/** The state of a metric. @param {{ state: string, children?: any }} props */
export function MetricMark({ state, children }) {
  return html`<${Mark} mark=${METRIC_STATES[state]?.mark ?? 'off'}>${children ?? state}<//>`;
}

/** @param {{ state: string }} props */
export function MetricTag({ state }) {
  return html`<${Tag} tone=${METRIC_STATES[state]?.tone ?? ''}>${state}<//>`;
}

/** Text to be copied. @param {{ text: string, label?: string }} props */
export function Code({ text, label = 'text' }) {
  return html`<div class="code-box">
    <pre tabindex="0" aria-label=${label}>${text}</pre>
    <${Copy} text=${text} label=${`Copy ${label}`} />
  </div>`;
}
