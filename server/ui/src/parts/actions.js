// What is done by a press: copy, download, one of few, tabs, dialogs.

import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { Icon } from './icons.js';

/** @param {string} text */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Off loopback without TLS there is no clipboard; a selection can be copied all the same.
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'sr-only';
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/** @param {{ text: string | (() => string), label?: string, children?: any }} props */
export function Copy({ text, label = 'Copy', children }) {
  const [said, say] = useState('');
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => say(''), 1800);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = async () =>
    say(
      (await copied(typeof text === 'function' ? text() : text))
        ? 'Copied'
        : 'Not copied: select it',
    );
  return html`<button
    type="button"
    onClick=${copy}
    aria-label=${children ? undefined : label}
    title=${label}
  >
    ${said ? null : html`<${Icon} name="copy" size=${14} />`}
    <span role="status">${said}</span>
    ${said ? null : children}
  </button>`;
}

/**
 * A file made here, or asked for; `undefined` makes none.
 * @param {{ name: string, type: string,
 *   content: () => string | undefined | Promise<string | undefined>, label?: string,
 *   disabled?: boolean, children?: any }} props
 */
export function Download({ name, type, content, label, disabled, children }) {
  const save = async () => {
    const text = await content();
    if (text === undefined) return;
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = document.createElement('a');
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  return html`<button type="button" disabled=${disabled} onClick=${save} title=${label}>
    <${Icon} name="download" size=${14} />
    ${children}
  </button>`;
}

/**
 * One of few, as buttons.
 * @param {{ label: string, value: any, options: { value: any, title: any }[],
 *   onChange: (value: any) => void }} props
 */
export function Segments({ label, value, options, onChange }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(
      (one) =>
        html`<button
          type="button"
          key=${one.value}
          aria-pressed=${one.value === value}
          onClick=${() => onChange(one.value)}
        >
          ${one.title}
        </button>`,
    )}
  </div>`;
}

/**
 * Values to choose from beside a control.
 * @param {{ label?: string, value?: any, onChange: (value: any) => void, class?: string,
 *   options: { value: string, title?: any, help?: string }[], children?: any }} props `label`: an
 *   element's id; `children`: further buttons
 */
export function Presets({ label, value, options, onChange, class: name = '', children }) {
  return html`<div
    class=${`presets ${name}`}
    role=${label ? 'group' : undefined}
    aria-labelledby=${label}
  >
    ${options.map(
      (one) =>
        html`<button
          type="button"
          key=${one.value}
          title=${one.help}
          aria-pressed=${value === undefined ? undefined : one.value === value}
          onClick=${() => onChange(one.value)}
        >
          ${one.title ?? one.value}
        </button>`,
    )}
    ${children}
  </div>`;
}

/**
 * Tabs with the panel of the one chosen; arrows, Home and End move.
 * @param {{ label: string, value: string, tabs: { value: string, title: any }[],
 *   onChange: (value: string) => void, children?: any }} props
 */
export function Tabs({ label, value, tabs, onChange, children }) {
  const id = useId();
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const at = Math.max(
    0,
    tabs.findIndex((tab) => tab.value === value),
  );
  /** @param {KeyboardEvent} event */
  const move = (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    onChange(tabs[next].value);
    /** @type {HTMLElement | undefined} */ (list.current?.children[next])?.focus();
  };
  return html`<div>
    <div class="tabs" role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
      ${tabs.map(
        (tab, index) => html`<button
          type="button"
          key=${tab.value}
          role="tab"
          id=${`${id}-${tab.value}`}
          aria-controls=${`${id}-panel`}
          aria-selected=${index === at}
          tabindex=${index === at ? 0 : -1}
          onClick=${() => onChange(tab.value)}
        >
          ${tab.title}
        </button>`,
      )}
    </div>
    <div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${tabs[at].value}`}>
      ${children}
    </div>
  </div>`;
}

/**
 * A dialog over the page while `open`; Escape, a press outside and the button close it. The focus
 * goes back to where it was.
 * @param {{ open: boolean, title: string, onClose: () => void, wide?: boolean,
 *   children?: any }} props
 */
export function Dialog({ open, title, onClose, wide = false, children }) {
  const id = useId();
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const close = useRef(onClose);
  close.current = onClose;
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog || !open) return undefined;
    const before = document.activeElement;
    // Left to the browser, a second Escape would close it whatever `onClose` does.
    const escape = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== 'Escape' || event.defaultPrevented) return;
      event.preventDefault();
      close.current();
    };
    document.addEventListener('keydown', escape);
    dialog.showModal();
    return () => {
      document.removeEventListener('keydown', escape);
      dialog.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, [open]);
  if (!open) return null;
  /** @param {MouseEvent} event */
  const outside = (event) => {
    if (event.target === ref.current) onClose();
  };
  /** @param {Event} event */
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog
    ref=${ref}
    class=${wide ? 'wide' : ''}
    aria-labelledby=${id}
    onClick=${outside}
    onCancel=${cancel}
  >
    <div class="dialog-head">
      <h2 id=${id}>${title}</h2>
      <button type="button" class="plain" aria-label="Close" onClick=${onClose}>
        <${Icon} name="close" />
      </button>
    </div>
    <div class="dialog-body">${children}</div>
  </dialog>`;
}
