// The pictures of the page: lines of one width, in the colour of the text around them.

import { html } from '../html.js';

/** Paths in a square of 24. @type {Record<string, string>} */
const PATHS = {
  tally: 'M6 5v14M10 5v14M14 5v14M18 5v14M3 16 21 8',
  connecting: 'M12 3a9 9 0 1 0 9 9',
  live: 'M5 12l5 5 9-11',
  reconnecting: 'M4 12a8 8 0 0 1 14-5l2 2M20 4v5h-5M20 12a8 8 0 0 1-14 5l-2-2M4 20v-5h5',
  stopped: 'M6 6h12v12H6z',
  empty: 'M4 13l3-8h10l3 8v6H4zM4 13h5l1 3h4l1-3h5',
  backfilling: 'M12 3v9l5 3M12 21a9 9 0 1 1 9-9',
  quarantined: 'M12 3 2.5 20h19zM12 10v5M12 17.5v.5',
  refused: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M6 6l12 12',
  store: 'M5 6c0-2 14-2 14 0v12c0 2-14 2-14 0zM5 6c0 2 14 2 14 0M5 12c0 2 14 2 14 0',
  stalled: 'M9 5v14M15 5v14',
  memory: 'M7 7h10v10H7zM4 10h3M4 14h3M17 10h3M17 14h3M10 4v3M14 4v3M10 17v3M14 17v3',
  ask: 'M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 17.5v.5M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18',
  problem: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 7v6M12 16v.5',
  system: 'M4 5h16v11H4zM9 20h6M12 16v4',
  light:
    'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 2v2M12 20v2M2 12h2M20 12h2' +
    'M5 5l1.5 1.5M17.5 17.5 19 19M5 19l1.5-1.5M17.5 6.5 19 5',
  dark: 'M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10',
  close: 'M6 6l12 12M18 6 6 18',
  plus: 'M12 5v14M5 12h14',
  move: 'M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3',
  edit: 'M4 20l1-4L16 5l3 3L8 19zM13 8l3 3',
  pin: 'M9 4h6l-1 6 3 4H7l3-4zM12 14v6',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5l11 7-11 7z',
  table: 'M4 5h16v14H4zM4 10h16M4 15h16M10 10v9',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  download: 'M12 4v11M7 11l5 5 5-5M4 20h16',
  full: 'M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5',
};

/** @param {{ name: string, size?: number }} props */
export function Icon({ name, size = 16 }) {
  return html`<svg
    viewBox="0 0 24 24"
    width=${size}
    height=${size}
    fill="none"
    stroke="currentColor"
    stroke-width="1.8"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
    focusable="false"
  >
    <path d=${PATHS[name] ?? PATHS.problem} />
  </svg>`;
}
