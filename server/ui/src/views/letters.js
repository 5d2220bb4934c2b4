// Dead letters: what could not become an event, by reason, with what each means and what came; and
// replayed when it can be one.

import { useState } from 'preact/hooks';
import { html } from '../html.js';
import { useLoaded } from '../data/loaded.js';
import { fmt } from '../data/settings.js';
import { explain } from '../lib/reasons.js';
import { visible } from '../lib/payload.js';
import { Card, View } from '../parts/card.js';
import { Facts } from '../parts/facts.js';
import { Payload } from '../parts/payload.js';
import { Failure, Pending, State } from '../parts/state.js';
import { Num, Time } from '../parts/values.js';
import { below } from '../lib/pointer.js';
import { extremes } from '../lib/scale.js';
import { href, route, withQuery } from '../router.js';
import { Replay } from './letter-replay.js';

const AGAIN_MS = 10_000;
const LIMIT = 20;
/** Most letters of an answer. */
const MOST = 100;
/** Characters of a payload in its line. */
const LINE = 160;

/** @param {{ letter: any }} props */
function Letter({ letter }) {
  const {
    reason,
    partition,
    offset,
    topic,
    time,
    origin,
    length,
    text,
    bytes_base64: base64,
  } = letter;
  const [open, setOpen] = useState(false);
  const line =
    text !== undefined
      ? visible(text.slice(0, LINE))
      : base64
        ? 'bytes that are no UTF-8'
        : 'no bytes';
  return html`<details
    class="letter"
    onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}
  >
    <summary>
      <${Time} value=${time} as="ago" class="dim" />
      <code class="cut" title=${reason}>${reason}</code>
      <span class="cut mono" dir="ltr">${line}</span>
    </summary>
    ${
      open
        ? html`<div class="stack">
            <${Facts} of=${[
              [
                'record',
                html`<a href=${href('records', [partition, offset])}>
                  ${topic} ${partition}/${offset}
                </a>`,
              ],
              ['written', html`<${Time} value=${time} />`],
              ['size', html`<${Num} value=${length} unit="bytes" />`],
              ['copied from', origin && html`<bdi>${origin}</bdi>`],
            ]} />
            <p>${explain(reason).text}</p>
            ${
              length > 65_536
                ? html`<p class="small dim">only the first 1 KiB of a record this long is kept</p>`
                : null
            }
            <${Payload} payload=${letter} label="payload" />
          </div>`
        : null
    }
  </details>`;
}

/**
 * @param {{ counts: [string, number][], chosen: string, onReplay: (reason: string) => void }} props
 */
function Reasons({ counts, chosen, onReplay }) {
  const [, most] = extremes(counts.map(([, count]) => count));
  return html`<ul class="reasons" data-source="api/dead-letters">
    ${counts.map(([reason, count]) => {
      const { text, of, replayable } = explain(reason);
      return html`<li key=${reason}>
        <code class="cut" title=${reason}><bdi>${reason}</bdi></code>
        <span class="track" aria-hidden="true">
          <i style=${{ width: `${Math.max(1, (100 * count) / most)}%` }}></i>
        </span>
        <strong class="end"><${Num} value=${count} at=${below('/counts', reason)} /></strong>
        <span class="row">
          <button
            type="button"
            aria-pressed=${chosen === reason}
            aria-label=${`Show only ${reason}`}
            onClick=${() => withQuery({ reason: chosen === reason ? '' : reason, limit: '' })}
          >
            Show
          </button>
          ${
            replayable
              ? html`<button
                  type="button"
                  aria-label=${`Replay ${reason}`}
                  onClick=${() => onReplay(reason)}
                >
                  Replay…
                </button>`
              : reason.startsWith('plugin_failed:')
                ? html`<a class="button" href=${href('plugins', [of])}>Plugin</a>`
                : null
          }
        </span>
        <p class="dim small">${text}</p>
      </li>`;
    })}
  </ul>`;
}

export function Letters() {
  const { reason = '', limit: asked = '' } = route.value.query;
  const limit = /^\d{1,3}$/.test(asked) ? Math.min(MOST, Math.max(1, Number(asked))) : LIMIT;
  const query = new URLSearchParams({ limit: String(limit), ...(reason ? { reason } : {}) });
  const path = `api/dead-letters?${query}`;
  const { data, of, problem, busy, again } =
    /** @type {import('../data/loaded.js').Loaded<any>} */ (useLoaded(path, { every: AGAIN_MS }));
  const [replay, setReplay] = useState(/** @type {string | undefined} */ (undefined));
  const counts = /** @type {[string, number][]} */ (Object.entries(data?.counts ?? {})).sort(
    (a, b) => b[1] - a[1],
  );
  const replayed = counts
    .filter(([one]) => (replay ? one === replay : explain(one).replayable))
    .reduce((sum, [, count]) => sum + count, 0);
  const all = counts.reduce((sum, [, count]) => sum + count, 0);
  const items = data?.items ?? [];
  const f = fmt.value;
  const tools = counts.some(([one]) => explain(one).replayable)
    ? html`<button type="button" onClick=${() => setReplay('')}>Replay all…</button>`
    : null;
  return html`<${View}
    title="Dead letters"
    json=${path}
    tools=${tools}
    lead=${html`records that could not be events · <a href=${href('events')}>Events</a>`}
  >
    ${
      data && problem
        ? html`<${Failure} problem=${problem} />`
        : html`<${Pending} of=${{ data, problem }} title="Reading dead letters" />`
    }
    ${
      data && counts.length === 0
        ? html`<${State} kind="nothing" title="No dead letters" centre=${true}>
            ${'Every record that this engine has read is an event. '}
            <code>POST /api/events</code> reports what it refuses to the sender.
          <//>`
        : null
    }
    ${
      counts.length > 0
        ? html`<div class=${`stack ${problem ? 'stale' : ''}`}>
            <${Card}
              title="By reason"
              note=${`${f.count(all, 'dead letter')} in all`}
              tools=${html`<a href="docs#/events/appendEvents">What makes a record an event</a>`}
            >
              <${Reasons} counts=${counts} chosen=${reason} onReplay=${setReplay} />
            <//>
            <${Card}
              title=${reason ? html`The newest: <bdi>${reason}</bdi>` : 'The newest'}
              stale=${busy && of !== path}
              tools=${
                reason
                  ? html`<button
                      type="button"
                      onClick=${() => withQuery({ reason: '', limit: '' })}
                    >
                      Show all reasons
                    </button>`
                  : null
              }
            >
              ${
                items.length === 0
                  ? html`<p class="dim">
                      None are kept any more: newer dead letters replaced them.
                    </p>`
                  : null
              }
              <div>
                ${items.map(
                  (/** @type {any} */ one) =>
                    html`<${Letter}
                      key=${`${one.topic}/${one.partition}/${one.offset}/${one.reason}`}
                      letter=${one}
                    />`,
                )}
              </div>
              ${
                items.length >= limit && limit < MOST
                  ? html`<p class="feed-foot">
                      <button type="button" onClick=${() => withQuery({ limit: MOST })}>
                        Show up to ${MOST}
                      </button>
                    </p>`
                  : null
              }
              ${
                items.length >= MOST
                  ? html`<p class="dim small">
                      The newest ${MOST}, the most at once: choose a reason.
                    </p>`
                  : null
              }
              ${
                data?.partial
                  ? html`<p class="dim small">
                      Only the newest 64 MiB were searched; there may be older ones.
                    </p>`
                  : null
              }
            <//>
          </div>`
        : null
    }
    <${Replay}
      open=${replay !== undefined}
      reason=${replay || undefined}
      count=${replayed}
      onClose=${() => {
        setReplay(undefined);
        again();
      }}
    />
  <//>`;
}
