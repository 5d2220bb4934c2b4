// Whether the engine is heard: connected, and answering when it should. One that hangs keeps its
// connection for a while.

import { computed } from '@preact/signals';
import { silentSince } from '../lib/silence.js';
import { now, seenSince } from './clock.js';
import { connection } from './socket.js';
import { statusState } from './status.js';

/** The time of its last answer, while it is connected and says nothing. */
export const silent = computed(() =>
  silentSince({
    connected: connection.value.state === 'live',
    at: statusState.value.at,
    seenSince: seenSince.value,
    now: now.value,
  }),
);

/** Whether what is shown is as it is now. */
export const live = computed(() => connection.value.state === 'live' && silent.value === undefined);

/** The state of what was asked for and has not come. */
export const waiting = computed(() =>
  live.value || connection.value.state === 'connecting' ? 'connecting' : 'unreachable',
);
