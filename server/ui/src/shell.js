// What is around every view: the header with how the engine is, notices of what is wrong, the list
// of keys, the footer. Shows the view of the address.

import { useEffect, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { html } from './html.js';
import { addKeys, keys } from './keys.js';
import { paused } from './data/answer.js';
import { keysOn, nextTheme } from './data/settings.js';
import { Header } from './header.js';
import { Notices } from './notices.js';
import { Dialog } from './parts/actions.js';
import { Guard } from './parts/guard.js';
import { State } from './parts/state.js';
import { go, href, route } from './router.js';
import { Boards } from './views/boards.js';
import { Events } from './views/events.js';
import { Explore } from './views/explore.js';
import { Health } from './views/health.js';
import { Letters } from './views/letters.js';
import { NewMetric } from './views/new.js';
import { Overview } from './views/overview.js';
import { Plugin } from './views/plugin.js';
import { Plugins } from './views/plugins.js';
import { Record } from './views/record.js';

/** @import {Route} from './router.js' */

const keysShown = signal(false);

/** @param {string} view @param {string} label @returns {import('./keys.js').Key} */
const to = (view, label) => ({ label: `go to ${label}`, run: () => go(href(view)) });

addKeys({
  '?': {
    label: 'show these keys',
    run: () => {
      keysShown.value = true;
    },
  },
  '/': { label: 'search', run: search },
  p: {
    label: 'pause or resume',
    run: () => {
      paused.value = !paused.value;
    },
  },
  t: { label: 'next theme: system, light, dark', run: nextTheme },
  'g o': to('overview', 'the overview'),
  'g e': to('explore', 'Explore'),
  'g b': to('boards', 'boards'),
  'g v': to('events', 'events'),
  'g d': to('letters', 'dead letters'),
  'g p': to('plugins', 'plugins'),
  'g n': to('new', 'a new metric'),
  'g h': to('health', 'health'),
});

/** The search of the view, if it has one, else the one of Explore. */
function search() {
  const field = document.querySelector('main input[type="search"], main [data-search]');
  if (field instanceof HTMLElement) field.focus();
  else go(href('explore'));
}

/** @param {Route} at */
function viewOf({ view, path }) {
  switch (view) {
    case 'overview':
      return Overview;
    case 'explore':
      return Explore;
    case 'boards':
      return Boards;
    case 'events':
      return Events;
    case 'letters':
      return Letters;
    case 'records':
      return Record;
    case 'plugins':
      return path.length > 0 ? Plugin : Plugins;
    case 'new':
      return NewMetric;
    case 'health':
      return Health;
    default:
      return Unknown;
  }
}

function Unknown() {
  return html`
    <h1 tabindex="-1">No such view</h1>
    <${State} kind="nothing" title="This address leads nowhere">
      <a href=${href('overview')}>Go to the overview</a>
    <//>
  `;
}

function Keys() {
  const names = Object.entries(keys.value);
  return html`<${Dialog}
    open=${keysShown.value}
    title="Keys"
    onClose=${() => {
      keysShown.value = false;
    }}
  >
    <dl class="keys">
      ${names.map(([name, key]) => [
        html`<dt key=${name}>${name.split(' ').map((one) => html`<kbd>${one}</kbd> `)}</dt>`,
        html`<dd key=${`${name}-does`}>${key.label}</dd>`,
      ])}
    </dl>
    <p class="row">
      <label class="row">
        <input
          type="checkbox"
          checked=${keysOn.value}
          onChange=${(/** @type {any} */ event) => {
            keysOn.value = event.currentTarget.checked;
          }}
        /> use these keys
      </label>
    </p>
  <//>`;
}

function Footer() {
  return html`<footer class="shell-foot">
    <a href="docs">API</a>
    <a href="api/openapi.json">OpenAPI</a>
    <a href="api/asyncapi.json">AsyncAPI</a>
    <a href="metrics">Prometheus</a>
    <a href="licenses.txt">Licences</a>
    <button
      type="button"
      class="plain"
      onClick=${() => {
        keysShown.value = true;
      }}
    >
      Keys <kbd>?</kbd>
    </button>
  </footer>`;
}

export function Shell() {
  const { view, path } = route.value;
  const place = `${view}/${path[0] ?? ''}`;
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const [first, setFirst] = useState(place);
  useEffect(() => {
    if (first === place) return;
    setFirst('');
    window.scrollTo(0, 0);
    /** @type {HTMLElement | null | undefined} */ (main.current?.querySelector('h1'))?.focus();
  }, [place]);
  return html`<div class="shell">
    <a
      class="skip"
      href="#main"
      onClick=${(/** @type {Event} */ event) => {
        event.preventDefault();
        main.current?.focus();
      }}
    >
      Skip to content
    </a>
    <${Header} />
    <${Notices} />
    <main id="main" class="shell-main" tabindex="-1" ref=${main}>
      <${Guard}
        key=${place}
        of=${route.value}
        head=${html`<h1 tabindex="-1">This view has failed</h1>`}
      >
        <${viewOf(route.value)} />
      <//>
    </main>
    <${Footer} />
    <${Keys} />
  </div>`;
}
