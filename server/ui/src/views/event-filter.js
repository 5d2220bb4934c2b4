// Which events are shown: types, a user, a product. The server filters; the address holds the
// choice.

import { useEffect, useMemo, useState } from 'preact/hooks';
import { html } from '../html.js';
import { search } from '../data/names.js';
import { fields, idOf, params, placed, texts } from '../lib/form.js';
import { canonical } from '../lib/question.js';
import { colour } from '../parts/colour.js';
import { Fields } from '../parts/fields.js';
import { Faults } from '../parts/state.js';
import { withQuery } from '../router.js';

/** @import {Fault} from '../types' */
/** @import {Filter} from '../data/socket.js' */

/** Typing pauses this long before it counts. */
const PAUSE_MS = 400;

const FIELDS = fields({
  properties: {
    event_types: { title: 'types', type: 'array', items: { type: 'string' }, maxItems: 64 },
    user_id: { title: 'user', 'x-tally-id': 'user' },
    product_id: { title: 'product', 'x-tally-id': 'product' },
  },
}).sort((a) => (a.kind === 'list' ? -1 : 1));

/** @param {Record<string, string>} query @returns {Filter} */
export function filterOf({ event_types: types, user_id: user, product_id: product }) {
  return {
    ...(types ? { event_types: types.split(',').map((one) => one.trim()) } : {}),
    ...(user ? { user_id: idOf(user) } : {}),
    ...(product ? { product_id: idOf(product) } : {}),
  };
}

/** The same as parts of a query. @param {Filter} filter */
export function queryOf({ event_types: types, user_id: user, product_id: product }) {
  return { event_types: types?.join(','), user_id: user, product_id: product };
}

/**
 * @param {{ filter: Filter, types: string[], faults: Fault[] }} props `types`: some that were seen
 */
export function EventFilter({ filter, types, faults }) {
  const [typed, setTyped] = useState(() => texts(FIELDS, filter));
  const read = params(FIELDS, typed).params;
  const key = canonical(filter);
  useEffect(() => {
    if (canonical(read) === key) return undefined;
    const timer = setTimeout(() => withQuery(queryOf(read)), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [canonical(read)]);
  useEffect(() => {
    if (canonical(read) !== key) setTyped(texts(FIELDS, filter));
  }, [key]);
  const chosen = filter.event_types ?? [];
  const { at, rest } = useMemo(
    () =>
      placed(
        FIELDS,
        faults.map((one) => ({ ...one, pointer: one.pointer.replace(/^\/events(?=\/)/, '') })),
      ),
    [faults],
  );
  /** @param {string} type */
  const toggle = (type) =>
    withQuery(
      queryOf({
        ...filter,
        event_types: chosen.includes(type)
          ? chosen.filter((one) => one !== type)
          : [...chosen, type],
      }),
    );
  return html`<div class="event-filter">
    <${Fields} fields=${FIELDS} typed=${typed} faults=${at} onChange=${setTyped} search=${search} />
    <${Faults} faults=${rest} />
    ${
      types.length > 0
        ? html`<div class="types" role="group" aria-label="types that were seen">
            ${types.map(
              (type) =>
                html`<button
                  type="button"
                  key=${type}
                  aria-pressed=${chosen.includes(type)}
                  onClick=${() => toggle(type)}
                >
                  <span class="dot" style=${{ background: colour(type) }}></span>
                  <bdi class="cut">${type}</bdi>
                </button>`,
            )}
          </div>`
        : null
    }
  </div>`;
}
