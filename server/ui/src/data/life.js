// What has happened to metrics since the page was opened: the newest notices of the server.

import { signal } from '@preact/signals';
import { onPlugin } from './socket.js';

const KEPT = 100;

/** @typedef {{ at: number, id: number, name: string, state: string }} Change */

let told = 0;

/** Newest first; at most `KEPT`. */
export const life = signal(/** @type {Change[]} */ ([]));

onPlugin(({ name, state }) => {
  told += 1;
  life.value = [{ at: Date.now(), id: told, name, state }, ...life.peek().slice(0, KEPT - 1)];
});
