// What fails takes nothing else of the page with it: a view, or a card, says that it has failed.

import { Component } from 'preact';
import { html } from '../html.js';
import { State } from './state.js';

/** Another answer is tried after that time. */
const AGAIN_MS = 10_000;

/** `of` is what it is drawn from: another one is tried by and by. `head` stands above the fault. */
export class Guard extends Component {
  state = { error: /** @type {Error | undefined} */ (undefined) };
  at = 0;

  /** @param {Error} error */
  componentDidCatch(error) {
    console.error(error);
    this.at = performance.now();
    this.setState({ error });
  }

  /** @param {any} before */
  componentDidUpdate(before) {
    if (
      this.state.error &&
      before.of !== /** @type {any} */ (this.props).of &&
      performance.now() - this.at > AGAIN_MS
    )
      this.setState({ error: undefined });
  }

  render() {
    const { children, head } = /** @type {any} */ (this.props);
    const { error } = this.state;
    if (!error) return children;
    return html`
      ${head}
      <${State} kind="problem" title="A fault of the page">
        <code>${error.message}</code> <button
          type="button"
          onClick=${() => this.setState({ error: undefined })}
        >
          Try again
        </button>
      <//>
    `;
  }
}
