// What a person has chosen for the page: zone, theme, keys. Kept in the browser where it allows
// that, and valid for this visit where it does not.

import { computed, effect, signal } from '@preact/signals';
import { formats } from '../lib/format.js';

const PREFIX = 'tally.';

/** @param {string} key */
function kept(key) {
  try {
    return localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

/**
 * Keeps a text; `null` forgets it. Answers whether the browser has kept it.
 * @param {string} key @param {string | null} value
 */
export function keep(key, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, value);
    return true;
  } catch {
    return false;
  }
}

/**
 * A signal whose value is kept.
 * @template T
 * @param {string} key
 * @param {T} usual
 * @param {(text: string) => T | undefined} read
 * @param {(value: T) => string} write
 */
function setting(key, usual, read, write) {
  const text = kept(key);
  const value = signal(text === null ? usual : (read(text) ?? usual));
  let first = true;
  effect(() => {
    const now = value.value;
    if (!first) keep(key, now === usual ? null : write(now));
    first = false;
  });
  return value;
}

/** @template {string} T @param {readonly T[]} words @returns {(text: string) => T | undefined} */
const oneOf = (words) => (text) => words.find((word) => word === text);

/** @param {string} zone */
function isZone(zone) {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: zone }));
  } catch {
    return false;
  }
}

const browserZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

/** @type {readonly ('system' | 'light' | 'dark')[]} */
const THEMES = ['system', 'light', 'dark'];

export const zone = setting(
  'zone',
  browserZone,
  (text) => (isZone(text) ? text : undefined),
  String,
);
export const theme = setting('theme', THEMES[0], oneOf(THEMES), String);
/** Whether keys do something without Ctrl, Alt or Meta. */
export const keysOn = setting(
  'keys',
  true,
  (text) => text !== 'off',
  (on) => (on ? 'on' : 'off'),
);

/** Zones to choose from. */
export function zones() {
  const all =
    typeof Intl.supportedValuesOf === 'function' ? Intl.supportedValuesOf('timeZone') : [];
  return [...new Set(['UTC', browserZone, zone.value, ...all])];
}

const locale = typeof navigator === 'undefined' ? undefined : [...(navigator.languages ?? [])];

/** How numbers and times are written here. */
export const fmt = computed(() => formats(locale?.length ? locale : undefined, zone.value));

const dark = matchMedia('(prefers-color-scheme: dark)');
const systemDark = signal(dark.matches);
dark.addEventListener('change', () => {
  systemDark.value = dark.matches;
});

/** The scheme that is seen. */
export const scheme = computed(() =>
  theme.value === 'system' ? (systemDark.value ? 'dark' : 'light') : theme.value,
);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

/** The next theme in turn. */
export function nextTheme() {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
}
