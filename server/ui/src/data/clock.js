// The time, each second while the page is seen: what relative times and ages are drawn from.

import { signal } from '@preact/signals';

export const now = signal(Date.now());

/** Since when the page is seen. */
export const seenSince = signal(now.value);

/** Whether the page is seen. */
export const visible = signal(document.visibilityState !== 'hidden');

setInterval(() => {
  if (visible.value) now.value = Date.now();
}, 1000);

document.addEventListener('visibilitychange', () => {
  visible.value = document.visibilityState !== 'hidden';
  if (visible.value) seenSince.value = now.value = Date.now();
});
