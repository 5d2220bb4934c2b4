// How the engine is: asked every 2 s while the page is seen; the last answer stays when one fails.
// And whether the engine has another version than the one that this page came from.

import { computed, effect, signal } from '@preact/signals';
import { wholeStatus } from '../lib/status.js';
import { polled } from './poll.js';
import { onConnect } from './socket.js';

/** @import {Status} from '../types' */

/** @type {ReturnType<typeof polled<Status>>} */
const poll = polled('api/status', 2000, { read: wholeStatus });

/** With the time of the answer, and the problem of the last request. */
export const statusState = poll.value;
/** `undefined` until it is known. */
export const status = computed(() => poll.value.value.data);

/** The first version that answered: the page came with it. */
const first = signal(/** @type {string | undefined} */ (undefined));
effect(() => {
  first.value ??= status.value?.version;
});

/** The versions of this page and of the engine, where they differ. */
export const outdated = computed(() => {
  const version = status.value?.version;
  return first.value !== undefined && version !== undefined && version !== first.value
    ? { page: first.value, engine: version }
    : undefined;
});

export function startStatus() {
  poll.start();
  onConnect(poll.again);
}
