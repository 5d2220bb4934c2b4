// That no metric is served, and two ways to have one.

import { html } from '../html.js';
import { State } from '../parts/state.js';
import { href } from '../router.js';

export function NoMetric() {
  return html`<${State} kind="no-metric" centre>
    ${'Put a plugin into the plugin folder, or '}
    <a href=${href('new')}>make a metric without code</a>.
  <//>`;
}
