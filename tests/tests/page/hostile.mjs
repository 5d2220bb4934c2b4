// What strangers wrote is shown as text, wherever it comes from: ids and properties of events,
// names of the catalogue, boards, addresses, answers; however long it is and whichever way it runs.
import assert from 'node:assert/strict';
import { act, altered, ask, live, LOOKS, open, play, until } from './browser.mjs';
import { judge, judged } from './axe.mjs';
import { event, post, reached } from './load.mjs';

const MARKUP = '<img src=x onerror="document.title=1">';
const TURNED = '\u202etxt.exe\u2066';
const LONG = 'W'.repeat(10_000);
const STRANGE = [MARKUP, TURNED, LONG];
const part = encodeURIComponent;
/** Where strangers' texts are shown. */
const VIEWS = [
  '#/',
  '#/events',
  '#/letters',
  '#/explore/user_activities?params={"user_id":1}&view=table',
  '#/explore/products_popularity?params={"limit":10}',
  '#/health',
  '#/plugins',
  '#/new',
  '#/boards',
  `#/boards/${part('~strange')}`,
  `#/boards/${part(`~${MARKUP}`)}`,
  '#/plugins/event_frequencies',
];

/** Where an address itself is strange. */
const ADDRESSES = [MARKUP, TURNED].flatMap((text) => [
  `#/${part(text)}`,
  `#/explore/${part(text)}?params=${part(JSON.stringify({ [text]: text }))}`,
  `#/plugins/${part(text)}`,
  `#/boards/${part(text)}`,
  `#/boards?doc=${part(text)}`,
  `#/records/${part(text)}/0`,
  `#/letters?reason=${part(text)}`,
  `#/events?user_id=${part(text)}&back=1&before=${part(text)}`,
  `#/new?name=${part(text)}&config=${part(
    JSON.stringify({ by: [`/${text}`], cells: { [text]: 'count' } }),
  )}`,
]);

/** Puts boards into the browser, as another program of this address may have. */
function boarded(page) {
  const question = (id, title, params, y) => ({
    id,
    metric: 'user_activities',
    params,
    title,
    x: 0,
    y,
    w: 6,
    h: 4,
  });
  const board = (title) => ({
    version: 1,
    title,
    items: [
      question('a', MARKUP, { user_id: MARKUP }, 0),
      question('b', TURNED, { user_id: TURNED }, 4),
      question('c', 'W'.repeat(60), { user_id: 1 }, 8),
    ],
  });
  const boards = { '~strange': board(TURNED), [`~${MARKUP}`]: board(MARKUP) };
  return page.addInitScript(
    (text) => localStorage.setItem('tally.boards', text),
    JSON.stringify({ version: 1, last: '~strange', boards }),
  );
}

/** Answers with texts that the engine would not let through, in place of its own. */
async function strange(page) {
  const swap = (item, at) =>
    Object.fromEntries(
      Object.entries(item).map(([key, value]) => [
        key,
        key.endsWith('_name') ? STRANGE[at % 3] : value,
      ]),
    );
  await altered(page, /\/api\/(users|product|products)(\/|\?|$)/, (found) =>
    found.items
      ? { ...found, items: found.items.map(swap) }
      : swap(found, found.user_id ?? found.product_id ?? 0),
  );
  await altered(page, /\/api\/metrics$/, (found) => {
    for (const [at, metric] of found.metrics.entries()) {
      metric.summary = STRANGE[at % 3];
      metric.version = STRANGE[(at + 1) % 3];
      metric.config = { [MARKUP]: TURNED, [TURNED]: [LONG] };
    }
    found.metrics.push({ ...found.metrics[0], name: MARKUP, plugin: TURNED });
    found.rejected = STRANGE.map((file) => ({
      file: file.slice(0, 300),
      reason: file,
      since: new Date().toISOString(),
    }));
  });
  await altered(page, /\/api\/metrics\/[^/]+\/versions$/, (found) => {
    found.versions = STRANGE.map((text, at) => ({
      ...found.versions[0],
      role: ['answering', 'before', 'next'][at],
      revision: `${at}`,
      version: text.slice(0, 300),
      file: text.slice(0, 300),
      reason: text,
    }));
  });
  await altered(page, /\/api\/status$/, (found) => {
    found.readiness.push(
      { name: 'catalogue', ok: false, needed: false, why: LONG, remedy: MARKUP },
      { name: 'other', ok: false, needed: false, why: TURNED },
    );
    found.log.name = MARKUP;
  });
  await altered(page, /\/api\/dead-letters(\?|$)/, (found) => {
    const reasons = [...STRANGE.map((text) => text.slice(0, 400)), `plugin_failed:${MARKUP}`];
    found.counts = Object.fromEntries(reasons.map((reason, at) => [reason, at + 1]));
    found.items = reasons.map((reason, offset) => ({
      topic: STRANGE[offset % 3].slice(0, 200),
      partition: 0,
      offset,
      reason,
      time: new Date().toISOString(),
      origin: STRANGE[(offset + 1) % 3].slice(0, 200),
      length: 40,
      text: STRANGE[offset % 3],
    }));
  });
  await altered(page, /\/api\/records\//, (found) => {
    found.topic = TURNED;
    found.origin = MARKUP;
    found.verdict = { state: 'refused', reason: LONG.slice(0, 300) };
  });
  await altered(page, /\/api\/fields$/, (found) => {
    found.fields.push(
      ...STRANGE.map((text) => ({
        pointer: `/${text.slice(0, 300)}`,
        types: { string: 1 },
        share: 1,
        examples: [text],
        distinct: 1,
        as: 'text',
      })),
    );
  });
  await altered(page, /\/api\/sections$/, (found) => {
    found.sections = STRANGE.map((text) => ({
      name: text.slice(0, 200),
      place: 'data_directory',
      section: { plugin: 'counts', config: { by: [text], cells: { [text]: 'count' } } },
      toml: text,
    }));
  });
  await altered(page, /\/api\/boards$/, (found) => {
    found.boards = STRANGE.map((text, at) => ({
      name: `board-${at}`,
      title: text.slice(0, 300),
      items: at,
    }));
    found.rejected = STRANGE.map((text) => ({ file: text.slice(0, 300), reason: text }));
  });
}

/** What must be so whatever is shown. */
async function harmless(page, where) {
  const { width, room, images, scripts, title, handlers } = await page.evaluate(() => ({
    width: document.documentElement.scrollWidth,
    room: document.documentElement.clientWidth,
    images: document.querySelectorAll('img, iframe, object, embed').length,
    scripts: [...document.scripts].filter((one) => !one.src || one.textContent).length,
    title: document.title,
    handlers: [...document.querySelectorAll('*')]
      .flatMap((one) => one.getAttributeNames())
      .filter((name) => name.startsWith('on')),
  }));
  assert.deepEqual({ images, scripts, handlers }, { images: 0, scripts: 0, handlers: [] }, where);
  assert.notEqual(title, '1', where);
  assert.ok(width <= room, `${where} is ${width} px wide where ${room} are`);
}

/** Texts that turn the direction stand in an element of their own that keeps it. */
async function isolated(page, where) {
  const loose = await page.evaluate(
    (turned) => {
      const walker = document.createTreeWalker(
        document.querySelector('main'),
        NodeFilter.SHOW_TEXT,
      );
      const found = [];
      while (walker.nextNode()) {
        if (!walker.currentNode.data.includes(turned)) continue;
        const place = walker.currentNode.parentElement;
        // A block of its own is a paragraph of its own; what is not seen turns nothing.
        const alone = place.childNodes.length === 1 && getComputedStyle(place).display !== 'inline';
        const code = place.closest('code');
        const apart = code && getComputedStyle(code).unicodeBidi === 'isolate';
        if (!alone && !apart && !place.closest('bdi, [dir=auto], pre, textarea, option, .sr-only'))
          found.push(place.outerHTML.slice(0, 200));
      }
      return found;
    },
    TURNED.slice(0, 4),
  );
  assert.deepEqual(loose, [], where);
}

async function everywhere(browser, look, before, views = []) {
  const page = await open(browser, '#/', {
    look,
    before: async (made) => {
      await boarded(made);
      await before?.(made);
    },
    expected: [/40[04]|422/],
  });
  for (const view of [...VIEWS, ...views]) {
    await page.evaluate((to) => {
      location.hash = to;
    }, view);
    await live(page);
    await until(
      `${view} is drawn`,
      async () => (await page.locator('[data-state="connecting"]').count()) === 0,
    );
    await harmless(page, view);
    await isolated(page, view);
    await judge(page, `${view} with texts of strangers`);
  }
  return page;
}

/** The views of the records in which the strangest texts came. */
async function records() {
  const { items } = await ask('api/events?limit=200');
  const found = [MARKUP, TURNED, LONG].map((text) =>
    items.find(({ event }) => Object.values(event).includes(text)),
  );
  return found.map(({ position }) => {
    const [partition, next] = position.split(':');
    return `#/records/${partition}/${Number(next) - 1}`;
  });
}

await play(
  [
    [
      'events with markup, turned and long texts',
      async (browser) => {
        await act('plugin', { plugin: 'counts' });
        const strangers = [
          { ...event(1), user_id: 1, product_id: MARKUP },
          { ...event(2), user_id: 1, product_id: TURNED },
          { ...event(3), user_id: MARKUP, product_id: 10 },
          { ...event(4), user_id: 1, product_id: 11 },
          { ...event(5), user_id: 1, product_id: 12, note: LONG, [MARKUP]: MARKUP },
          { ...event(6), user_id: 1, product_id: 'W'.repeat(64), note: TURNED },
        ];
        await reached(
          await post(
            strangers.flatMap((one, at) =>
              Array.from({ length: 20 - at }, (_, n) => ({
                ...one,
                event_id: `strange-${at}-${n}`,
              })),
            ),
          ),
        );
        const views = await records();
        await everywhere(browser, LOOKS.light, undefined, views);
        const page = await everywhere(browser, LOOKS.narrow, undefined, views);
        // It is there, and as text.
        await page.evaluate(() => {
          location.hash = '#/';
        });
        await page.getByText(MARKUP).first().waitFor();
        // One that comes while somebody looks.
        await page.evaluate(() => {
          location.hash = '#/events';
        });
        await live(page);
        await post([
          { ...event(7), event_id: 'strange-now', user_id: TURNED, product_id: MARKUP, note: LONG },
        ]);
        await until('it has come', async () =>
          (await page.locator('main').innerText()).includes(MARKUP),
        );
        await harmless(page, 'a new event');
        await isolated(page, 'a new event');
      },
    ],
    [
      'names and answers that the engine would not let through',
      async (browser) => {
        const views = [...(await records()), `#/plugins/${part(MARKUP)}`];
        await everywhere(browser, LOOKS.light, strange, views);
        await everywhere(browser, LOOKS.narrow, strange, views);
      },
    ],
    [
      'strange addresses',
      async (browser) => {
        const page = await everywhere(browser, LOOKS.narrow, undefined, ADDRESSES);
        await page.evaluate(() => {
          location.hash = '#/boards/~strange';
        });
        await page.getByRole('heading', { name: MARKUP }).first().waitFor();
      },
    ],
  ],
  () => `${judged.runs} views with texts of strangers`,
);
