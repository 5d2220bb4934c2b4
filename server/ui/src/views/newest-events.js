// The newest few events, as the overview shows them; Events shows the feed.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { paced } from '../data/answer.js';
import { live } from '../data/silence.js';
import { listen } from '../data/socket.js';
import { Card } from '../parts/card.js';
import { State } from '../parts/state.js';
import { href } from '../router.js';
import { EventRow } from './event-row.js';

/** @import {EventMessage} from '../types' */

const SHOWN = 8;

export function NewestEvents() {
  const [rows, setRows] = useState(/** @type {EventMessage[]} */ ([]));
  const newest = useRef(rows);
  useEffect(() => {
    const pace = paced(setRows);
    const stop = listen({}, ({ event }) => {
      if (!event) return;
      newest.current = [event, ...newest.current.slice(0, SHOWN - 1)];
      pace.put(newest.current);
    });
    return () => {
      stop();
      pace.stop();
    };
  }, []);
  return html`<${Card}
    title="New events"
    href=${href('events')}
    stale=${rows.length > 0 && !live.value}
    tools=${html`<a href=${href('events')}>All events</a>`}
  >
    ${rows.length === 0 ? html`<${State} kind="empty" title="Waiting for the next event" />` : null}
    <ul class="feed" aria-live="off">
      ${rows.map((one) => html`<li key=${one.position}><${EventRow} ...${one} /></li>`)}
    </ul>
  <//>`;
}
