// What the scripts share: a Chromium, pages that are watched, acts of the harness, waits with an
// end.
//
// A script is run in the folder with `node_modules`: node SCRIPT ADDRESS [ARGUMENT…]. It asks for
// what only the harness can do by a line `act {…}` on stdout, and reads what came of it from stdin.
// Every page fails its script by an error on its console, by what its policy of content forbids,
// and by a request to anywhere else.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

export const installed = createRequire(`${process.cwd()}/`);
const { chromium } = installed('playwright-core');
const { version } = installed('playwright-core/package.json');

/** The address of the page. */
export const [base, ...given] = process.argv.slice(2);

/** How long anything may take that is waited for, milliseconds. */
export const LIMIT = 20_000;

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the harness do something: `act('stop')`. Answers what came of it. */
export async function act(name, more = {}) {
  process.stdout.write(`act ${JSON.stringify({ act: name, ...more })}\n`);
  const { value, done } = await answers.next();
  assert.ok(!done, `the harness is gone: ${name}`);
  const { error, done: came } = JSON.parse(value);
  assert.equal(error, undefined, name);
  return came;
}

/** Says a figure, which the harness prints whether the script passes or not. */
export function measured(what, value) {
  process.stdout.write(`measured: ${what}: ${value}\n`);
}

/** Asks until it is so: `question` answers something true. */
export async function until(what, question, limit = LIMIT) {
  const end = performance.now() + limit;
  let last;
  for (;;) {
    try {
      const found = await question();
      if (found) return found;
      last = found;
    } catch (fault) {
      last = fault;
    }
    if (performance.now() > end)
      throw new Error(
        `${what}: not within ${limit} ms`,
        last instanceof Error ? { cause: last } : { cause: new Error(String(last)) },
      );
    // Between two questions.
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
}

/**
 * Runs the steps of a script in one browser: `[name, async (browser) => …]` in turn; the verdict
 * counts them.
 */
export async function play(steps, count = () => `${steps.length} journeys`) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({
    executablePath,
    args: ['--disable-dev-shm-usage', '--force-color-profile=srgb'],
  });
  let step = 'begin';
  try {
    for (const [name, run] of steps) {
      step = name;
      const begun = performance.now();
      await run(browser);
      await closed();
      console.log(`${name}: ${Math.round(performance.now() - begun)} ms`);
    }
  } catch (fault) {
    await told(step, fault);
    process.exit(1);
  }
  const chromiumVersion = browser.version();
  await browser.close();
  console.log(`verdict: playwright-core ${version}, Chromium ${chromiumVersion}: ${count()}`);
  process.exit(0);
}

/**
 * What is seen when a step fails: the fault, what the pages said, and a picture where one is
 * wanted.
 */
async function told(step, fault) {
  console.error(`${step} failed:`, fault);
  for (const { page, faults } of watched) {
    if (page.isClosed()) continue;
    console.error(`at ${page.url()}`, faults);
    const text = await page
      .locator('main')
      .innerText({ timeout: 1000 })
      .catch(() => '');
    console.error(text.slice(0, 3000));
    if (process.env.PICTURES)
      await page
        .screenshot({ path: `${process.env.PICTURES}/failed.png`, timeout: 5000 })
        .catch(() => {});
  }
}

/** Open pages, with what is wrong with each. */
const watched = [];

/** How a page is looked at. */
export const LOOKS = {
  light: { colorScheme: 'light', viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
  narrow: { colorScheme: 'light', viewport: { width: 360, height: 740 } },
};
/** The widest that the page is made for. */
export const WIDE = { colorScheme: 'light', viewport: { width: 2560, height: 1440 } };

/**
 * Opens the page at a view: `open(browser, '#/events')`. `expected`: what the browser may say of
 * answers that are no success, as `/422/`; nothing else on the console is.
 */
export async function open(browser, view = '#/', { look = LOOKS.light, expected, before } = {}) {
  const context = await browser.newContext({
    ...look,
    locale: 'en-GB',
    timezoneId: 'UTC',
    reducedMotion: 'reduce',
  });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  const seen = { page, context, faults: [], expected: expected ? [expected].flat() : [] };
  watched.push(seen);
  watch(seen);
  await before?.(page);
  await page.goto(base + view, { waitUntil: 'domcontentloaded' });
  return page;
}

/** Lets a page's console say this too from now on: an engine is about to be stopped. */
export function expect(page, ...texts) {
  watched.find((one) => one.page === page).expected.push(...texts);
}

/** What the browser itself says where an engine is away. */
export const AWAY = [
  /net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED)|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)/,
  /WebSocket connection to .* failed/,
  /Error during WebSocket handshake/,
];

function watch({ page, faults, expected }) {
  const origin = new URL(base).origin;
  page.on('console', (message) => {
    const text = message.text();
    if (!['error', 'warning'].includes(message.type()) || expected.some((one) => one.test(text)))
      return;
    faults.push(`console: ${text} (${message.location().url})`);
  });
  page.on('pageerror', (error) => faults.push(`thrown: ${error.stack ?? error}`));
  page.on('dialog', (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== 'blob:')
      faults.push(`request to ${request.url()}`);
  });
  page.on('websocket', (socket) => {
    if (new URL(socket.url()).host !== new URL(base).host) faults.push(`socket to ${socket.url()}`);
  });
}

/** Closes all pages; none may have a fault. */
async function closed() {
  for (const { page, context, faults } of watched.splice(0)) {
    assert.deepEqual(faults, [], `at ${page.url()}`);
    await context.close();
  }
}

/** A request of the script itself: JSON, or a failure. */
export async function ask(path, body, method = body === undefined ? 'GET' : 'POST') {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const answer = await fetch(base + path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(LIMIT),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** Waits until the view is drawn and the connection stands. */
export async function live(page) {
  await page.locator('[data-connection="live"]').waitFor();
  await page.locator('main h1').waitFor();
}

/**
 * Answers to a page's requests as an engine would give them that is in another state: `change`
 * takes the JSON.
 */
export function altered(page, pattern, change) {
  return page.route(pattern, async (route) => {
    const request = route.request();
    if (request.method() !== 'GET') return route.continue();
    try {
      // An answer that has not changed is none to be altered.
      const { 'if-none-match': _, ...headers } = await request.allHeaders();
      const answer = await route.fetch({ headers });
      if (!answer.ok()) return await route.fulfill({ response: answer });
      const found = await answer.json();
      return await route.fulfill({ response: answer, json: change(found) ?? found });
    } catch {
      // The engine is away, or the page is: then nobody waits for it.
      return route.abort('connectionrefused').catch(() => {});
    }
  });
}
