// Keys that do something on the whole page, and what they are, for the list at `?`.
//
// A key with Ctrl, Alt or Meta belongs to the browser; while something is typed none is taken. All
// can be switched off (WCAG 2.1.4).

import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { keysOn } from './data/settings.js';

/** @typedef {{ label: string, run: () => void }} Key */

/** How long the second key of two may take. */
const PAIR_MS = 1200;

/** Keys by what is pressed: `t`, or `g e`. */
export const keys = signal(/** @type {Record<string, Key>} */ ({}));

let first = '';
/** @type {ReturnType<typeof setTimeout> | undefined} */
let forget;

/** @param {EventTarget | null} target */
function isTyping(target) {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target.matches(
        'input:not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select',
      ))
  );
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  const { key, ctrlKey, altKey, metaKey, target, defaultPrevented } = event;
  if (defaultPrevented || ctrlKey || altKey || metaKey || !keysOn.value || isTyping(target)) return;
  if (document.querySelector('dialog[open]')) return;
  const pair = first && `${first} ${key}`;
  const found = (pair && keys.value[pair]) || keys.value[key];
  clearTimeout(forget);
  first = '';
  if (found) {
    event.preventDefault();
    found.run();
  } else if (Object.keys(keys.value).some((name) => name.startsWith(`${key} `))) {
    first = key;
    forget = setTimeout(() => {
      first = '';
    }, PAIR_MS);
  }
}

/** Adds keys until the answer is called. @param {Record<string, Key>} own */
export function addKeys(own) {
  keys.value = { ...keys.value, ...own };
  return () => {
    keys.value = Object.fromEntries(
      Object.entries(keys.value).filter(([name, key]) => own[name] !== key),
    );
  };
}

/**
 * Keys of a component, while it is shown.
 * @param {Record<string, Key>} own
 * @param {any[]} depends
 */
export function useKeys(own, depends) {
  useEffect(() => addKeys(own), depends);
}

export function listenToKeys() {
  document.addEventListener('keydown', pressed);
}
