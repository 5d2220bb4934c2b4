// What blocks stand in: the head of a view, and cards. A card that is drawn from an answer says
// which in its attributes, so that every number in it can be asked again.

import { createContext } from 'preact';
import { useEffect, useId } from 'preact/hooks';
import { html } from '../html.js';
import { canonical } from '../lib/question.js';
import { Guard } from './guard.js';
import { Time } from './values.js';

/** @import {Answer, Params} from '../types' */

/** When the answer was counted that a card is drawn from. */
export const AsOf = createContext(/** @type {string | undefined} */ (undefined));

/**
 * The head of a view: its one h1, the address of the same as JSON, and what can be done.
 * @param {{ title: any, name?: string, json?: string, lead?: any, tools?: any,
 *   children?: any }} props `name` is the title as plain text, for the window
 */
export function View({ title, name, json, lead, tools, children }) {
  const text = name ?? (typeof title === 'string' ? title : '');
  useEffect(() => {
    document.title = text ? `${text} · Tally` : 'Tally';
  }, [text]);
  return html`
    <div class="view-head">
      <h1 tabindex="-1">${title}</h1>
      ${lead ? html`<p class="lead">${lead}</p>` : null}
      <div class="tools no-print">
        ${tools}
        ${json ? html`<a class="twin" href=${json} title="the same as JSON">JSON</a>` : null}
      </div>
    </div>
    ${children}
  `;
}

/**
 * Attributes of a block that is drawn from an answer.
 * @param {string | undefined} metric
 * @param {Params | undefined} params
 * @param {Answer | undefined} answer
 */
export function stamp(metric, params, answer) {
  return answer && metric
    ? {
        'data-metric': metric,
        'data-params': canonical(params),
        'data-position': answer.meta.position,
        'data-as-of': answer.meta.as_of,
      }
    : {};
}

/**
 * Since when events were counted, for an answer over all time: that need not be the first of the
 * log. For any other time its children.
 * @param {{ params: Params, meta: Answer['meta'] | undefined, children?: any }} props
 */
export function Since({ params: { window: length = 'all', from, to }, meta, children }) {
  const since = length === 'all' && !from && !to ? meta?.history?.from : undefined;
  if (!meta || since === undefined) return children ?? null;
  const today = Date.parse(meta.as_of) - Date.parse(since) < 86_400_000;
  return html`since <${Time} value=${since} as=${today ? 'minutes' : 'date'} />`;
}

/**
 * A card. `stale` greys what is old; `place` is where its element is put.
 * @param {{ title: any, href?: string, help?: string, note?: any, tools?: any, class?: string,
 *   stale?: boolean, metric?: string, params?: Params, answer?: Answer,
 *   place?: { current: HTMLElement | null }, children?: any }} props
 */
export function Card({
  title,
  href,
  help,
  note,
  tools,
  class: name = '',
  stale = false,
  metric,
  params,
  answer,
  place,
  children,
}) {
  const id = useId();
  const heading = href ? html`<a href=${href}>${title}</a>` : title;
  return html`<section
    ref=${place}
    class=${`card ${name} ${stale ? 'stale' : ''}`}
    aria-labelledby=${id}
    ...${stamp(metric, params, answer)}
  >
    <div class="card-head">
      <h2 id=${id} class="cut" title=${help}>${heading}</h2>
      ${note ? html`<span class="note">${note}</span>` : null}
      ${tools ? html`<div class="tools">${tools}</div>` : null}
    </div>
    <${Guard} of=${answer}><${AsOf.Provider} value=${answer?.meta.as_of}>${children}<//><//>
  </section>`;
}
