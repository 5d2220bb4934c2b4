// The template tag of the page: markup as text, never as HTML. The build turns templates into
// calls, so that nothing of this is in the bundle.

import htm from 'htm';
import { h } from 'preact';

/** @type {(strings: TemplateStringsArray, ...values: any[]) => import('preact').VNode<any>} */
export const html = /** @type {any} */ (htm.bind(h));
