// The answer to a question: as a chart, as tables, as JSON; live or of one moment; with what it was
// counted from.
//
// An answer stays when a later one fails or the connection is lost: it is then grey and dated, and
// says why there is no newer one. A range that is dragged in a chart, and steps over time, change
// the question.

import { useMemo } from 'preact/hooks';
import { html } from '../html.js';
import { paused } from '../data/answer.js';
import { fmt } from '../data/settings.js';
import { live as heard, waiting } from '../data/silence.js';
import { windowMillis } from '../lib/format.js';
import { groupChart } from '../lib/groups.js';
import { pictures } from '../lib/picture.js';
import { canonical, keyOf } from '../lib/question.js';
import { spanOf, stepFor } from '../lib/ranges.js';
import { Segments, Tabs } from '../parts/actions.js';
import { Card } from '../parts/card.js';
import { Chart } from '../parts/chart.js';
import { Facts } from '../parts/facts.js';
import { WholePicture } from '../parts/picture.js';
import { Code, Failure, Progress, State, Warnings } from '../parts/state.js';
import { Time } from '../parts/values.js';
import { href, route, withQuery } from '../router.js';
import { Tables } from './explore-tables.js';

/** @import {Answer, Descriptor, Field, Params, Picture, Question} from '../types' */

/** Longest JSON that is shown; the rest is in the file. */
const LONGEST = 100_000;

const VIEWS = [
  { value: 'chart', title: 'Chart' },
  { value: 'table', title: 'Table' },
  { value: 'json', title: 'JSON' },
];
const WAYS = [
  { value: true, title: 'Live' },
  { value: false, title: 'Fixed' },
];

/**
 * @param {object} props
 * @param {Descriptor} props.descriptor
 * @param {Question} props.question
 * @param {Field[]} props.needed what must be given before it can be asked
 * @param {import('@preact/signals').ReadonlySignal<import('../data/answer.js').Answered>}
 *   props.state
 * @param {boolean} props.live
 * @param {string[]} props.steps
 * @param {() => void} props.onAgain
 * @param {((from: number, to: number) => void) | undefined} props.onRange
 * @param {(params: Params) => void} props.onStep
 * @param {(() => void) | undefined} props.undo
 */
export function AnswerCard({
  descriptor,
  question,
  needed,
  state,
  live,
  steps,
  onAgain,
  onRange,
  onStep,
  undo,
}) {
  const { answer, of, problem, busy } = state.value;
  const view = VIEWS.find((one) => one.value === route.value.query.view)?.value ?? 'chart';
  const other = of !== undefined && keyOf(of) !== keyOf(question);
  const stale =
    answer !== undefined && (problem !== undefined || (live && !heard.value) || (other && !busy));
  const schema = canonical(descriptor.result_schema);
  const parts = useMemo(() => pictures(descriptor.result_schema), [schema]);
  // The step of a chart, where there could be one.
  const over =
    answer && descriptor.time && question.params.bucket === undefined
      ? stepFor(steps, ...spanOf(answer.meta), descriptor.tiers, Date.parse(answer.meta.as_of))
      : undefined;
  return html`<${Card}
    title="Answer"
    class=${`explore-answer ${busy && answer ? 'waiting' : ''}`}
    stale=${stale}
    metric=${of?.metric}
    params=${of?.params}
    answer=${answer}
    note=${html`<${When} ...${{ answer, stale, other, live, busy }} />`}
    tools=${html`
      ${
        undo
          ? html`<button type="button" title="Undo the range (u)" onClick=${undo}>
              Undo range
            </button>`
          : null
      }
      ${
        over
          ? html`<button
              type="button"
              onClick=${() => onStep({ ...question.params, bucket: over })}
            >
              Show over time
            </button>`
          : null
      }
      ${live ? null : html`<button type="button" onClick=${onAgain}>Refresh</button>`}
      <${Segments}
        label="live or fixed"
        value=${live}
        options=${WAYS}
        onChange=${(/** @type {boolean} */ to) => withQuery({ live: to })}
      />
    `}
  >
    ${
      needed.length > 0
        ? html`<${State}
            kind="params-missing"
            title=${`Needs ${needed.map((field) => field.label).join(', ')}`}
          >
            Fill in the required fields, or pick an example.
          <//>`
        : null
    }
    ${descriptor.progress && !problem ? html`<${Progress} ...${descriptor.progress} />` : null}
    ${
      problem
        ? html`<${Failure} problem=${problem} title=${answer ? 'Not updated' : undefined} />`
        : null
    }
    ${
      problem?.code === 'plugin_quarantined'
        ? html`<p><a href=${href('plugins', [descriptor.name])}>See the plugin's status</a></p>`
        : null
    }
    ${!answer && busy ? html`<${State} kind=${waiting.value} />` : null}
    ${
      answer
        ? html`
            <${Warnings} warnings=${answer.warnings} />
            <${Tabs}
              label="answer as"
              value=${view}
              tabs=${VIEWS}
              onChange=${(/** @type {string} */ to) =>
                withQuery({ view: to === 'chart' ? '' : to })}
            >
              <${Body} ...${{ view, answer, parts, onRange }} />
            <//>
            <${Explain} meta=${answer.meta} asked=${of?.params.window} />
          `
        : null
    }
  <//>`;
}

/**
 * Of when the answer is, and whether it is old.
 * @param {{ answer: Answer | undefined, stale: boolean, other: boolean, live: boolean,
 *   busy: boolean }} props
 */
function When({ answer, stale, other, live, busy }) {
  if (!answer) return null;
  const time = html`<${Time} value=${answer.meta.as_of} />`;
  if (busy && other) return html`updating; the previous answer is shown, as of ${time}`;
  if (stale) return html`${other ? 'answer to the previous question' : 'old'}, as of ${time}`;
  if (live) return html`${paused.value ? 'paused' : 'live'}, as of ${time}`;
  return html`fixed, as of ${time}`;
}

/**
 * @param {{ view: string, answer: Answer, parts: Picture[],
 *   onRange: ((from: number, to: number) => void) | undefined }} props
 */
function Body({ view, answer, parts, onRange }) {
  const { result } = answer;
  if (view === 'json') return html`<${Text} answer=${answer} />`;
  if (view === 'table') return html`<${Tables} pictures=${parts} result=${result} />`;
  return html`<div class="stack">
    <${Groups} pictures=${parts} result=${result} onRange=${onRange} />
    <${WholePicture} pictures=${parts} result=${result} onRange=${onRange} />
  </div>`;
}

/**
 * @param {{ pictures: Picture[], result: any,
 *   onRange: ((from: number, to: number) => void) | undefined }} props
 */
function Groups({ pictures: parts, result, onRange }) {
  const charts = useMemo(
    () => parts.flatMap((picture) => groupChart(picture, result) ?? []),
    [parts, result],
  );
  if (charts.length === 0) return null;
  return html`<div class="whole">
    ${charts.map(
      ({ title, chart }) =>
        html`<section key=${title}>
          <h3>${title}</h3>
          <${Chart} chart=${chart} label=${title} height=${280} onRange=${onRange} />
        </section>`,
    )}
  </div>`;
}

/** @param {{ answer: Answer }} props */
function Text({ answer }) {
  const text = useMemo(() => JSON.stringify(answer, null, 2), [answer]);
  if (text.length <= LONGEST) return html`<${Code} text=${text} label="JSON" />`;
  return html`
    <p class="dim">
      Showing the first ${fmt.value.number(LONGEST)}
      ${' of '}
      ${fmt.value.number(text.length)} characters; the file has them all.
    </p>
    <${Code} text=${text.slice(0, LONGEST)} label="JSON" />
  `;
}

/**
 * What the answer was counted from.
 * @param {{ meta: Answer['meta'], asked: any }} props `asked`: the window of the question
 */
function Explain({
  meta: { window: used, history, position, took_us: took, version, as_of: asOf },
  asked,
}) {
  const since = history?.from;
  const [from, to] = [used?.from ?? since, used?.to ?? asOf];
  const length = Date.parse(to) - Date.parse(from ?? '');
  return html`<${Facts}
    class="explain"
    of=${[
      [
        'events from',
        from &&
          html`
            <${Time} value=${from} /> – <${Time} value=${to} />
            ${' ('}
            ${fmt.value.duration(length)}${
              length > (windowMillis(asked) ?? Infinity) ? ', extended to whole steps' : ''
            })
          `,
      ],
      [
        'position',
        html`<code class="cut" title=${`next record by partition: ${position}`}>${position}</code>`,
      ],
      [
        'history from',
        since &&
          html`
            <${Time} value=${since} />
            ${history.state === 'complete' ? null : ` (${history.state})`}
          `,
      ],
      [
        'took',
        took === undefined
          ? ''
          : html`<data value=${took}>${fmt.value.duration(took / 1000)}</data>`,
      ],
      ['version', version],
    ]}
  />`;
}
