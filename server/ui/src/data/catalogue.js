// What can be asked: the metrics that the engine serves, and the files that it refused.

import { computed } from '@preact/signals';
import { polled } from './poll.js';
import { onConnect, onPlugin } from './socket.js';

/** @import {Catalogue, Descriptor} from '../types' */

/** @type {ReturnType<typeof polled<Catalogue>>} */
const poll = polled('api/metrics', 10_000);

/** With the time of the answer, and the problem of the last request. */
export const catalogueState = poll.value;
/** `undefined` until it is known. */
export const catalogue = computed(() => poll.value.value.data);
export const refreshCatalogue = poll.again;

/** @param {string} name @returns {Descriptor | undefined} */
export function descriptor(name) {
  return catalogue.value?.metrics.find((metric) => metric.name === name);
}

export function startCatalogue() {
  poll.start();
  onPlugin(poll.again);
  onConnect(poll.again);
}
