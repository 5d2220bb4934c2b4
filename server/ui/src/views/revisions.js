// The revisions of a metric that are counted, side by side, and the differences of their answers to
// its examples. Changes nothing.

import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { compare } from '../lib/compare.js';
import { canonical } from '../lib/question.js';
import { Card } from '../parts/card.js';
import { Failure, MetricMark, Progress, Tag, Warnings } from '../parts/state.js';
import { Table } from '../parts/table.js';
import { Foreign, Long, Num, Time } from '../parts/values.js';
import { href } from '../router.js';

/** @import {Descriptor, Params, Warning} from '../types' */
/** @import {Difference} from '../lib/compare.js' */

/**
 * @typedef {Descriptor & { role: string, revision: string, file: string, sha256: string,
 *   keep_old_s: number, held?: string, until?: string }} Version
 * @typedef {{ role: string, position?: string, result?: any, warnings?: Warning[],
 *   error?: string }} RoleAnswer
 * @typedef {{ params: Params, note?: string, equal?: boolean, answers?: RoleAnswer[] }} Example
 * @typedef {{ name: string, versions: Version[], examples: Example[] }} Versions
 */

/** @type {Record<string, string>} */
const ROLES = { answering: 'answering', next: 'next', before: 'previous' };

/** @param {string} text */
const code = (text) => html`<code>${text}</code>`;
/** @param {string} text */
const long = (text) => html`<${Long} text=${text} />`;
/** @param {string} value */
const time = (value) => html`<${Time} value=${value} />`;

/**
 * The older one of the first two first.
 * @template {{ role: string }} T
 * @param {T[]} all
 * @returns {T[]}
 */
const older = (all) => (all[1]?.role === 'before' ? [all[1], all[0]] : all);

/**
 * What is told of a revision: a title, where it is, how it is shown.
 * @type {[string, string, (value: any) => any][]}
 */
const ROWS = [
  ['state', 'state', (state) => html`<${MetricMark} state=${state} />`],
  ['progress', 'progress', (progress) => html`<${Progress} ...${progress} />`],
  ['reason', 'reason', long],
  ['waiting for', 'held', long],
  ['since', 'since', time],
  ['version', 'version', String],
  ['revision', 'revision', code],
  ['file', 'file', long],
  ['sha256', 'sha256', code],
  [
    'history',
    'history',
    ({ state, from }) => html`${state}${from ? html` from ${time(from)}` : null}`,
  ],
  [
    'CPU per event',
    'cost',
    ({ ns_per_event: ns }) => html`<data value=${ns}>${fmt.value.duration(ns / 1e6)}</data>`,
  ],
  ['cells', 'cost', ({ cells }) => html`<${Num} value=${cells} />`],
  ['memory', 'cost', ({ bytes }) => html`<${Num} value=${bytes} unit="bytes" />`],
  ['failed events', 'events_failed', (failed) => html`<${Num} class="bad" value=${failed} />`],
  ['kept up to date until', 'until', time],
  [
    'keeps the previous one for',
    'keep_old_s',
    (seconds) => html`<${Num} value=${seconds} unit="s" />`,
  ],
];
/** Of these it is marked when they differ. */
const TELLING = ['version', 'revision', 'file', 'sha256'];

/** @param {{ versions: any[] }} props */
function SideBySide({ versions }) {
  const columns = [
    {
      key: 'what',
      title: html`<span class="sr-only">what</span>`,
      head: true,
      tight: true,
      cell: (/** @type {any} */ [title, key]) =>
        html`
          <span class="dim">${title}</span>
          ${
            TELLING.includes(key) && versions.some((one) => one[key] !== versions[0][key])
              ? html` <b>≠<span class="sr-only"> differs</span></b>`
              : null
          }
        `,
    },
    ...versions.map((version, at) => ({
      key: String(at),
      title: ROLES[version.role] ?? version.state,
      cell: (/** @type {any} */ [, key, show]) =>
        version[key] === undefined
          ? html`<span class="dim">–</span>`
          : html`<bdi>${show(version[key])}</bdi>`,
    })),
  ];
  return html`<${Table}
    scrolls
    caption="Details of each revision"
    columns=${columns}
    rows=${ROWS.filter(([, key]) => versions.some((one) => one[key] !== undefined))}
  />`;
}

/** @param {any} value */
const shown = (value) =>
  value === undefined
    ? html`<span class="dim">–</span>`
    : typeof value === 'number'
      ? html`<${Num} value=${value} />`
      : html`<${Foreign} text=${typeof value === 'string' ? value : JSON.stringify(value)} />`;

/**
 * The differences of two values.
 * @param {{ before: any, after: any, titles: [string, string], caption: string }} props
 */
function Differences({ before, after, titles, caption }) {
  const { differences, more } = compare(before, after);
  const columns = [
    {
      key: 'where',
      head: true,
      class: 'text',
      sort: (/** @type {Difference} */ one) => one.pointer,
      cell: (/** @type {Difference} */ one) =>
        html`<code><${Foreign} text=${one.pointer || '/'} /></code>`,
    },
    {
      key: 'kind',
      title: 'change',
      tight: true,
      class: 'spare',
      cell: (/** @type {Difference} */ one) => one.kind,
    },
    {
      key: 'before',
      title: titles[0],
      class: 'text',
      cell: (/** @type {Difference} */ one) => shown(one.before),
    },
    {
      key: 'after',
      title: titles[1],
      class: 'text',
      cell: (/** @type {Difference} */ one) => shown(one.after),
    },
  ];
  return html`
    <${Table}
      caption=${caption}
      columns=${columns}
      stacks
      rows=${differences}
      most=${20}
      empty="no difference"
    />
    ${more ? html`<p class="dim">and more</p>` : null}
  `;
}

/** @param {{ name: string, example: Example }} props */
function ExampleAnswers({ name, example }) {
  const { params, note = '', equal, answers = [] } = example;
  const [one, two] = older(answers);
  const both = one?.result !== undefined && two?.result !== undefined;
  return html`<li>
    <div class="row">
      <a href=${href('explore', [name], { params: canonical(params) })}>
        <code>${long(canonical(params))}</code>
      </a>
      <span class="dim">${long(note)}</span>
      ${
        equal === undefined
          ? null
          : html`<${Tag} tone=${equal ? 'good' : 'warn'}>
              ${equal ? '= same answer' : '≠ different answer'}
            <//>`
      }
    </div>
    ${answers.map(
      (answer) =>
        html`<div key=${answer.role}>
          ${
            answer.error
              ? html`<p class="fault">${ROLES[answer.role]}: ${long(answer.error)}</p>`
              : null
          }
          <${Warnings} warnings=${answer.warnings} />
        </div>`,
    )}
    ${
      both && equal === false
        ? html`
            ${
              one.position === two.position
                ? null
                : html`<p class="dim small">
                    Not at the same position (<code>${one.position}</code>
                    ${', '}
                    <code>${two.position}</code>): events in between may explain part of it.
                  </p>`
            }
            <${Differences}
              before=${one.result}
              after=${two.result}
              titles=${[ROLES[one.role], ROLES[two.role]]}
              caption=${`Differences of the answers to ${canonical(params)}`}
            />
          `
        : null
    }
  </li>`;
}

/**
 * What else of two revisions is compared.
 * @type {['config' | 'params_schema' | 'result_schema', string][]}
 */
const DOCUMENTS = [
  ['config', 'Its configuration'],
  ['params_schema', 'The schema of params'],
  ['result_schema', 'The schema of the result'],
];

/**
 * The versions as they were told, with what the newer list of metrics says of them.
 * @param {Descriptor} metric @param {Versions} [data] @returns {any[]}
 */
function current(metric, data) {
  const { newer: next, before, ...answering } = metric;
  /** @type {Record<string, any>} */
  const now = { answering, next, before };
  return data ? data.versions.map((one) => ({ ...one, ...now[one.role] })) : [answering];
}

/**
 * What is known of a metric's revisions.
 * @param {{ metric: Descriptor, found: { data?: Versions,
 *   problem?: import('../data/api.js').Problem, again: () => void } }} props
 */
export function Revisions({ metric, found }) {
  const { name } = metric;
  const { data, problem, again } = found;
  const versions = current(metric, data);
  const [one, two] = older(versions);
  const titles = [ROLES[one.role], ROLES[two?.role]];
  /** @type {Example[]} */
  const examples = data?.examples ?? metric.examples;
  return html`<${Card}
    title=${two ? 'Revisions, side by side' : 'Revision'}
    tools=${html`
      <button type="button" onClick=${again}>Refresh</button>
      <a
        class="twin"
        href=${`api/metrics/${encodeURIComponent(name)}/versions`}
        aria-label="revisions as JSON"
      >
        JSON
      </a>
    `}
  >
    ${problem ? html`<${Failure} problem=${problem} />` : null}
    <${SideBySide} versions=${versions} />
    ${
      two
        ? DOCUMENTS.filter(([key]) => canonical(one[key]) !== canonical(two[key])).map(
            ([key, title]) =>
              html`<div class="below" key=${key}>
                <h3>${title} differs</h3>
                <${Differences}
                  before=${one[key]}
                  after=${two[key]}
                  titles=${titles}
                  caption=${title}
                />
              </div>`,
          )
        : null
    }
    ${
      examples.length > 0
        ? html`<div class="below">
            <h3>${two ? 'Answers to its examples' : 'Examples'}</h3>
            <ul class="examples">
              ${examples.map(
                (example) =>
                  html`<${ExampleAnswers}
                    key=${canonical(example.params)}
                    name=${name}
                    example=${example}
                  />`,
              )}
            </ul>
          </div>`
        : null
    }
  <//>`;
}
