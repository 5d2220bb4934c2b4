// Explore: a question to a metric, its answer, and the same question elsewhere.
//
// The address holds all of it: metric, params, names, live or fixed, and what is seen. The form,
// the chart and the address are three ways to change the same params. Without a metric one is
// chosen.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { useAnswer } from '../data/answer.js';
import { catalogueState, descriptor } from '../data/catalogue.js';
import { useKeys } from '../keys.js';
import { paramsOf } from '../lib/address.js';
import { fields, missing } from '../lib/form.js';
import { answerPath, canonical, firstQuestion, hasIds } from '../lib/question.js';
import { ranged } from '../lib/ranges.js';
import { View } from '../parts/card.js';
import { Pending, State } from '../parts/state.js';
import { Prose } from '../parts/values.js';
import { href, route, withQuery } from '../router.js';
import { AnswerCard } from './explore-answer.js';
import { QuestionForm } from './explore-form.js';
import { Keep } from './explore-keep.js';
import { MetricList } from './explore-list.js';
import { Elsewhere } from './explore-elsewhere.js';

/** @import {Descriptor, Params} from '../types' */

/** Ranges that can be undone. */
const MOST = 50;

export function Explore() {
  const { path } = route.value;
  const { data } = catalogueState.value;
  const [name] = path;
  const known = descriptor(name);
  if (known) return html`<${Asking} key=${name} descriptor=${known} />`;
  return html`<${View} title="Explore" json="api/metrics" lead="Ask a metric">
    <${Pending} of=${catalogueState.value} centre />
    ${
      data && name !== undefined
        ? html`<${State} kind="nothing" title="No such metric">
            <bdi class="cut">${name}</bdi> is not served here: it may have been renamed or removed.
          <//>`
        : null
    }
    ${data ? html`<${MetricList} metrics=${data.metrics} />` : null}
  <//>`;
}

/**
 * Params that were left for a range, to go back to.
 * @param {Params} params
 */
function useRange(params) {
  const [before, setBefore] = useState(/** @type {string[]} */ ([]));
  return {
    /** @param {Params} next */
    choose(next) {
      setBefore([...before.slice(1 - MOST), canonical(params)]);
      withQuery({ params: canonical(next) }, { replace: false });
    },
    undo:
      before.length > 0
        ? () => {
            setBefore(before.slice(0, -1));
            withQuery({ params: before.at(-1) }, { replace: false });
          }
        : undefined,
  };
}

/** @param {{ descriptor: Descriptor }} props */
function Asking({ descriptor }) {
  const { name, params_schema: schema, summary } = descriptor;
  const { query } = route.value;
  const schemaText = canonical(schema);
  const all = useMemo(() => fields(schema), [schemaText]);
  const given = useMemo(() => paramsOf(query.params), [query.params]);
  const params = given ?? {};
  useEffect(() => {
    if (query.params === undefined)
      withQuery({ params: canonical(firstQuestion(descriptor)?.params), live: query.live ?? 1 });
  }, [query.params]);

  const ids = hasIds(descriptor.result_schema);
  const needed = missing(all, params);
  // With some params the server may say what else is wrong.
  const asks = given !== undefined && (needed.length === 0 || canonical(params) !== '{}');
  const question = {
    metric: name,
    params,
    ...(ids && query.names !== '0' ? { expand: ['names'] } : {}),
  };
  const live = query.live === '1';
  const [again, setAgain] = useState(0);
  const state = useAnswer(asks ? question : undefined, { live, again });

  const range = useRange(params);
  const steps = /** @type {string[]} */ (
    all.find((field) => field.key === 'bucket')?.options ?? []
  );
  const onRange = descriptor.time
    ? (/** @type {number} */ from, /** @type {number} */ to) =>
        range.choose(ranged(params, from, to, steps, descriptor.tiers, Date.now()))
    : undefined;
  const undo = useRef(range.undo);
  undo.current = range.undo;
  useKeys({ u: { label: 'undo the range chosen in a chart', run: () => undo.current?.() } }, []);

  return html`<${View}
    title=${html`<bdi>${name}</bdi>`}
    name=${`${name} · Explore`}
    lead=${html`<${Prose} text=${summary} />`}
    json=${answerPath(question)}
    tools=${html`
      <${Keep} question=${question} state=${state} />
      <a href=${href('explore')}>All metrics</a>
    `}
  >
    <div class="explore">
      <${QuestionForm}
        key=${schemaText}
        descriptor=${descriptor}
        all=${all}
        params=${params}
        readable=${query.params === undefined || given !== undefined}
        ids=${ids}
        state=${state}
        needs=${!asks}
        onAgain=${() => setAgain(again + 1)}
      />
      <div class="stack">
        <${AnswerCard}
          descriptor=${descriptor}
          question=${question}
          needed=${asks ? [] : needed}
          state=${state}
          live=${live}
          steps=${steps}
          onAgain=${() => setAgain(again + 1)}
          onRange=${onRange}
          onStep=${range.choose}
          undo=${range.undo}
        />
        <${Elsewhere} question=${question} />
      </div>
    </div>
  <//>`;
}
