// Events: as they come, or backwards from a position of the log.

import { useState } from 'preact/hooks';
import { html } from '../html.js';
import { Segments } from '../parts/actions.js';
import { View } from '../parts/card.js';
import { seen } from '../parts/colour.js';
import { route, withQuery } from '../router.js';
import { EventFilter, filterOf } from './event-filter.js';
import { LiveEvents } from './live-events.js';
import { PastEvents, pastPath } from './past-events.js';

/** @import {Failure} from '../data/socket.js' */

/** Types to choose from. */
const TYPES = 24;

export function Events() {
  const { query } = route.value;
  const back = query.back !== undefined || query.before !== undefined;
  const filter = filterOf(query);
  const [types, setTypes] = useState(/** @type {string[]} */ ([]));
  const [error, setError] = useState(/** @type {Failure | undefined} */ (undefined));
  /** @param {Iterable<string>} more */
  const saw = (more) =>
    setTypes((before) => {
      const all = new Set([...before, ...more]);
      if (all.size === before.length) return before;
      seen(all);
      return [...all].slice(0, TYPES).sort();
    });
  const shown = { filter, onTypes: saw, onError: setError };
  const tools = html`
    <${Segments}
      label="which events"
      value=${back ? 'back' : 'live'}
      options=${[
        { value: 'live', title: 'Live' },
        { value: 'back', title: 'History' },
      ]}
      onChange=${(/** @type {string} */ to) =>
        withQuery({ back: to === 'back', before: undefined }, { replace: false })}
    />
  `;
  return html`<${View} title="Events" json=${pastPath(filter, query.before)} tools=${tools}>
    <section class="card" aria-label=${back ? 'past events' : 'live events'}>
      <${EventFilter} filter=${filter} types=${types} faults=${error?.errors ?? []} />
      ${
        back && query.before
          ? html`<p class="small dim">
              before <code>${query.before}</code> <button
                type="button"
                class="plain"
                onClick=${() => withQuery({ back: true, before: undefined })}
              >
                Back to the newest
              </button>
            </p>`
          : null
      }
      ${
        back
          ? html`<${PastEvents} ...${shown} before=${query.before} />`
          : html`<${LiveEvents} ...${shown} />`
      }
    </section>
  <//>`;
}
