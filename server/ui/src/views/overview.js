// Overview: a card for each metric, drawn by the rules of its result; the newest events; the
// plugins.
//
// Asks nothing that a metric's author has not given as an example. Shows parts only: Explore,
// Events and Plugins show the whole.

import { useMemo } from 'preact/hooks';
import { html } from '../html.js';
import { useAnswer } from '../data/answer.js';
import { catalogueState } from '../data/catalogue.js';
import { fmt } from '../data/settings.js';
import { useSight } from '../data/sight.js';
import { live, waiting } from '../data/silence.js';
import { status } from '../data/status.js';
import { windowTitle } from '../lib/format.js';
import { cardOf, pictures } from '../lib/picture.js';
import { answerPath, canonical, firstQuestion, recentQuestion } from '../lib/question.js';
import { recent as recentOf } from '../lib/series.js';
import { Card, Since, stamp, View } from '../parts/card.js';
import { Guard } from '../parts/guard.js';
import { CardPicture } from '../parts/picture.js';
import {
  Failure,
  Large,
  MetricTag,
  Pending,
  Progress,
  quarantineKind,
  State,
  Warnings,
} from '../parts/state.js';
import { Time } from '../parts/values.js';
import { href } from '../router.js';
import { NewestEvents } from './newest-events.js';
import { NoMetric } from './no-metric.js';
import { PluginTable } from './plugin-table.js';

/** @import {Answer, Descriptor, Question} from '../types' */

/** Minutes of a spark. */
const SPARK = 60;
const MINUTE = 60_000;

/** @param {Question | undefined} question */
function exploreHref(question) {
  return question
    ? href('explore', [question.metric], { params: canonical(question.params), live: 1 })
    : '';
}

/**
 * What a question is about, in words.
 * @param {{ question: Question, meta: Answer['meta'] | undefined }} props
 */
function Note({ question: { params }, meta }) {
  const { window: length, from, to, bucket: _, ...others } = params;
  return html`
    <${Since} params=${params} meta=${meta}>
      ${from || to ? 'chosen time' : windowTitle(length)}
    <//>
    ${Object.entries(others).map(
      ([key, value]) => ` · ${key} ${typeof value === 'object' ? JSON.stringify(value) : value}`,
    )}
  `;
}

/**
 * The spark and the change of a metric's first figure, if its series has them.
 * @param {Descriptor} descriptor
 * @param {Question | undefined} question
 * @param {ReturnType<typeof pictures>} parts
 * @param {boolean} seen
 */
function useRecent(descriptor, question, parts, seen) {
  const figure = parts.find((part) => part.kind === 'figure');
  const series = parts.find(
    (part) => part.kind === 'series' && part.lines?.some((line) => line.key === figure?.key),
  );
  const wanted = descriptor.time && question && figure && series;
  const recent = wanted ? { ...recentQuestion(question), minInterval: 2000 } : undefined;
  const { answer, of } = useAnswer(recent, { card: true, seen, ahead: false }).value;
  return useMemo(() => {
    const points = answer && series ? answer.result?.[series.key] : undefined;
    if (!Array.isArray(points) || !figure) return undefined;
    const { as_of: asOf = '', history } = answer?.meta ?? {};
    const { spark, change } = recentOf(points, figure.key, {
      steps: SPARK,
      step: MINUTE,
      asOf: Date.parse(asOf),
      from: history?.from === undefined ? undefined : Date.parse(history.from),
    });
    if (spark.length < 2) return undefined;
    // A minute or two less than an hour are cut by the window.
    const since =
      change || spark.length > SPARK - 3
        ? 'last hour'
        : `last ${fmt.value.count(spark.length, 'minute')}`;
    return { spark, change, since, stamp: stamp(of?.metric, of?.params, answer) };
  }, [answer]);
}

/** @param {{ descriptor: Descriptor }} props */
function MetricCard({ descriptor }) {
  const { name, summary, state, reason, progress, result_schema: schema } = descriptor;
  const question = useMemo(
    () => (state === 'retired' ? undefined : firstQuestion(descriptor)),
    [canonical(descriptor.examples), state],
  );
  const parts = useMemo(() => pictures(schema), [canonical(schema)]);
  const [place, seen] = useSight();
  const { answer, of, problem, busy, large } = useAnswer(question, { card: true, seen }).value;
  const recent = useRecent(descriptor, question, parts, seen);
  const stale = answer !== undefined && (!seen || !live.value || problem !== undefined);
  const wide = answer !== undefined && cardOf(parts, answer.result).chart !== undefined;
  return html`<${Card}
    class=${`metric ${wide ? 'wide' : ''}`}
    title=${name}
    href=${question ? exploreHref(question) : href('explore', [name])}
    help=${summary}
    note=${
      stale
        ? html`as of <${Time} value=${answer?.meta.as_of} as="clock" />`
        : question
          ? html`<${Note} question=${question} meta=${answer?.meta} />`
          : null
    }
    tools=${html`
      ${state === 'active' ? null : html`<${MetricTag} state=${state} />`}
      ${
        question
          ? html`<a class="twin" href=${answerPath(question)} aria-label=${`${name} as JSON`}>
              JSON
            </a>`
          : null
      }
    `}
    stale=${stale}
    place=${place}
    metric=${name}
    params=${of?.params}
    answer=${answer}
  >
    <${Body} ...${{ descriptor, question, parts, answer, recent }} />
    <${Large} size=${large} href=${exploreHref(question)} />
    ${progress ? html`<${Progress} ...${progress} />` : null}
    ${
      state === 'quarantined'
        ? html`<${State}
            kind=${quarantineKind(reason)}
            remedy=${html`<a href=${href('plugins', [name])}>What to do</a>`}
          >
            <bdi>${reason}</bdi>
          <//>`
        : null
    }
    ${problem && !(state !== 'active' && !answer) ? html`<${Failure} problem=${problem} />` : null}
    ${
      !answer && !problem && busy && question && state === 'active'
        ? html`<${State} kind=${waiting.value} />`
        : null
    }
    <${Warnings} warnings=${answer?.warnings} />
  <//>`;
}

/**
 * @param {{ descriptor: Descriptor, question: Question | undefined,
 *   parts: ReturnType<typeof pictures>, answer: Answer | undefined,
 *   recent: ReturnType<typeof useRecent> }} props
 */
function Body({ descriptor, question, parts, answer, recent }) {
  if (!question && descriptor.state !== 'retired') {
    return html`<${State}
      kind="params-missing"
      remedy=${html`<a href=${href('explore', [descriptor.name])}>Ask</a>`}
    >
      ${descriptor.summary}
    <//>`;
  }
  if (!answer) return null;
  return html`<${CardPicture}
    pictures=${parts}
    result=${answer.result}
    spark=${recent?.spark}
    change=${recent?.change}
    recent=${recent?.stamp}
    since=${recent?.since}
  />`;
}

function NoEvents() {
  const records = (status.value?.partitions ?? []).reduce(
    (sum, partition) => sum + partition.end,
    0,
  );
  if (!status.value || records > 0) return null;
  const event = { user_id: 1, product_id: 10, event_type: 'view' };
  const url = new URL('api/events', document.baseURI);
  url.hash = '';
  return html`<${Card} title="Get started">
    <${State}
      kind="empty"
      command=${
        `tally produce --rate 100 --url ${new URL('.', url).origin}\n` +
        `curl -s ${url.href} --json '${JSON.stringify(event)}'`
      }
    >
      Metrics count events. Generate some, or send one:
    <//>
  <//>`;
}

export function Overview() {
  const { data } = catalogueState.value;
  const metrics = data?.metrics ?? [];
  const shown = metrics.filter((metric) => metric.state !== 'retired');
  const lead = data ? fmt.value.count(shown.length, 'metric') : '';
  return html`<${View}
    title="Overview"
    json="api/metrics"
    lead=${lead}
    tools=${html`<a class="button" href=${href('new')}>New metric</a>`}
  >
    <${Pending} of=${catalogueState.value} centre />
    <${NoEvents} />
    ${data && metrics.length === 0 ? html`<${NoMetric} />` : null}
    <div class="cards">
      ${shown.map(
        (descriptor) =>
          html`<${Guard} key=${descriptor.name} of=${descriptor}>
            <${MetricCard} descriptor=${descriptor} />
          <//>`,
      )}
    </div>
    ${
      data
        ? html`<div class="two wide-first overview-below">
            <${PluginTable} metrics=${metrics} rejected=${data.rejected} />
            <${NewestEvents} />
          </div>`
        : null
    }
  <//>`;
}
