// Starts the page: data first, then what is seen.

import { render } from 'preact';
import { html } from './html.js';
import { startCatalogue } from './data/catalogue.js';
import { connect } from './data/socket.js';
import { startStatus } from './data/status.js';
import { listenToKeys } from './keys.js';
import { Shell } from './shell.js';

connect();
startCatalogue();
startStatus();
listenToKeys();

const place = document.getElementById('app');
if (place) render(html`<${Shell} />`, place);
