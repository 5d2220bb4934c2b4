// The header: where one is, whether it is live, how fast and how far behind the engine is, and what
// can be chosen for the whole page.

import { html } from './html.js';
import { paused } from './data/answer.js';
import { fmt, nextTheme, theme, zone, zones } from './data/settings.js';
import { connection } from './data/socket.js';
import { silent } from './data/silence.js';
import { status, statusState } from './data/status.js';
import { plural } from './lib/format.js';
import { Icon } from './parts/icons.js';
import { Mark } from './parts/state.js';
import { Num } from './parts/values.js';
import { href, route } from './router.js';

const PLACES = [
  { view: 'overview', title: 'Overview', also: [] },
  { view: 'explore', title: 'Explore', also: [] },
  { view: 'boards', title: 'Boards', also: [] },
  { view: 'events', title: 'Events', also: ['records'] },
  { view: 'letters', title: 'Dead letters', also: [] },
  { view: 'plugins', title: 'Plugins', also: ['new'] },
  { view: 'health', title: 'Health', also: [] },
];

/** Marks of the connection. */
const MARKS = { connecting: 'busy', reconnecting: 'busy', stopped: 'bad' };

function Connection() {
  const { state } = connection.value;
  const [mark, word] =
    state !== 'live'
      ? [MARKS[state], state]
      : silent.value
        ? ['busy', 'no answer']
        : status.value?.ready === false
          ? ['bad', 'not ready']
          : paused.value
            ? ['off', 'paused']
            : ['', state];
  return html`<${Mark} mark=${mark} role="status" data-connection=${state}>
    <span class="word">${word}</span>
  <//>`;
}

/** Numbers of `api/status`; greyed when they are old. */
function Vitals() {
  const { data, problem, at } = statusState.value;
  if (!data) return null;
  const { rate, lag, version, started, log } = data;
  const seconds =
    rate.events_per_s > 0 && lag.records !== undefined
      ? lag.records / rate.events_per_s
      : undefined;
  const old = problem !== undefined || silent.value !== undefined;
  const title = old && at ? `as of ${fmt.value.dateTime(at)}` : undefined;
  return html`<span
    class=${`row ${old ? 'old' : ''}`}
    title=${title}
    data-source="api/status"
    data-as-of=${data.as_of}
  >
    <span class="rate">
      <strong><${Num} value=${rate.events_per_s} at="/rate/events_per_s" /></strong> events/s
    </span>
    <span
      class="lag"
      title="records in the log that are not counted yet, and how long they take at this rate"
    >
      lag <strong><${Num} value=${lag.records} at="/lag/records" /></strong>
      <span class="more">${` ${plural(lag.records, 'record')}`}</span>
      ${seconds === undefined ? null : ` (${fmt.value.duration(seconds * 1000)})`}
    </span>
    <span
      class="more"
      title=${[
        location.host,
        log.kind && `log ${log.kind} ${log.name ?? ''}`,
        started && `since ${fmt.value.dateTime(started)}`,
      ]
        .filter(Boolean)
        .join(' · ')}
    >
      Tally ${version}
    </span>
  </span>`;
}

function Zone() {
  return html`<select
    aria-label="time zone"
    title="time zone"
    value=${zone.value}
    onChange=${(/** @type {any} */ event) => {
      zone.value = event.currentTarget.value;
    }}
  >
    ${zones().map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
  </select>`;
}

export function Header() {
  const { view } = route.value;
  return html`<header class="shell-head">
    <a class="brand" aria-label="Tally" href=${href('overview')}>
      <${Icon} name="tally" size=${20} />
      <span class="brand-name">Tally</span>
    </a>
    <nav class="shell-nav" aria-label="views">
      <ul>
        ${PLACES.map(
          (place) =>
            html`<li key=${place.view}>
              <a
                href=${href(place.view)}
                aria-current=${
                  place.view === view ? 'page' : place.also.includes(view) ? 'true' : undefined
                }
              >
                ${place.title}
              </a>
            </li>`,
        )}
      </ul>
    </nav>
    <div class="vitals">
      <${Connection} />
      <${Vitals} />
      <span class="vitals-tools">
        <button
          type="button"
          class="plain pause"
          aria-pressed=${paused.value}
          aria-label="Pause"
          title="Pause updates (p)"
          onClick=${() => {
            paused.value = !paused.value;
          }}
        >
          <${Icon} name=${paused.value ? 'play' : 'pause'} />
        </button>
        <${Zone} />
        <button
          type="button"
          class="plain"
          aria-label=${`Theme: ${theme.value}`}
          title=${`Theme: ${theme.value} (t)`}
          onClick=${nextTheme}
        >
          <${Icon} name=${theme.value} />
        </button>
      </span>
    </div>
  </header>`;
}
