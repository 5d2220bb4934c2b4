// What strangers wrote is shown as text, wherever it comes from: ids and properties of events, names of the
// catalogue, answers; however long it is and whichever way it runs.
import assert from 'node:assert/strict';
import { altered, live, LOOKS, open, play, until } from './browser.mjs';
import { judge, judged } from './axe.mjs';
import { event, post, reached } from './load.mjs';

const MARKUP = '<img src=x onerror="document.title=1">';
const TURNED = '\u202etxt.exe\u2066';
const LONG = 'W'.repeat(10_000);
/** Where strangers' texts are shown. */
const VIEWS = ['#/', '#/events', '#/letters', '#/explore/user_activities?params={"user_id":1}&view=table', '#/explore/products_popularity?params={"limit":10}', '#/health', '#/plugins', '#/new', '#/boards'];

/** What must be so whatever is shown. */
async function harmless(page, where) {
  const { width, room, images, scripts, title, handlers } = await page.evaluate(() => ({
    width: document.documentElement.scrollWidth,
    room: document.documentElement.clientWidth,
    images: document.querySelectorAll('img, iframe, object, embed').length,
    scripts: [...document.scripts].filter((one) => !one.src || one.textContent).length,
    title: document.title,
    handlers: [...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames()).filter((name) => name.startsWith('on')),
  }));
  assert.deepEqual({ images, scripts, handlers }, { images: 0, scripts: 0, handlers: [] }, where);
  assert.notEqual(title, '1', where);
  assert.ok(width <= room, `${where} is ${width} px wide where ${room} are`);
}

/** Texts that turn the direction stand in an element of their own that keeps it. */
async function isolated(page, where) {
  const loose = await page.evaluate((turned) => {
    const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      if (!walker.currentNode.data.includes(turned)) continue;
      const place = walker.currentNode.parentElement;
      // A block of its own is a paragraph of its own.
      const alone = place.childNodes.length === 1 && getComputedStyle(place).display !== 'inline';
      if (!alone && !place.closest('bdi, [dir=auto], pre, textarea, option')) found.push(place.outerHTML.slice(0, 200));
    }
    return found;
  }, TURNED.slice(0, 4));
  assert.deepEqual(loose, [], where);
}

async function everywhere(browser, look, before) {
  const page = await open(browser, '#/', { look, before, expected: [/40[04]|422/] });
  for (const view of VIEWS) {
    await page.evaluate((to) => { location.hash = to; }, view);
    await live(page);
    await until(`${view} is drawn`, async () => (await page.locator('[data-state="connecting"]').count()) === 0);
    await harmless(page, view);
    await isolated(page, view);
    await judge(page, `${view} with texts of strangers`);
  }
  return page;
}

await play([
  ['events with markup, turned and long texts', async (browser) => {
    const strange = [
      { ...event(1), user_id: 1, product_id: MARKUP }, { ...event(2), user_id: 1, product_id: TURNED }, { ...event(3), user_id: MARKUP, product_id: 10 },
      { ...event(4), user_id: 1, product_id: 11 }, { ...event(5), user_id: 1, product_id: 12, note: LONG, [MARKUP]: MARKUP },
      { ...event(6), user_id: 1, product_id: 'W'.repeat(64), note: TURNED },
    ];
    await reached(await post(strange.flatMap((one, at) => Array.from({ length: 20 - at }, (_, n) => ({ ...one, event_id: `strange-${at}-${n}` })))));
    await everywhere(browser, LOOKS.light);
    const page = await everywhere(browser, LOOKS.narrow);
    // It is there, and as text.
    await page.evaluate(() => { location.hash = '#/'; });
    await page.getByText(MARKUP).first().waitFor();
    // One that comes while somebody looks.
    await page.evaluate(() => { location.hash = '#/events'; });
    await live(page);
    await post([{ ...event(7), event_id: 'strange-now', user_id: TURNED, product_id: MARKUP, note: LONG }]);
    await until('it has come', async () => (await page.locator('main').innerText()).includes(MARKUP));
    await harmless(page, 'a new event');
    await isolated(page, 'a new event');
  }],
  ['names and answers that the engine would not let through', async (browser) => {
    const before = async (page) => {
      const names = [MARKUP, TURNED, LONG];
      const renamed = (item, at) => Object.fromEntries(Object.entries(item).map(([key, value]) => [key, key.endsWith('_name') ? names[at % 3] : value]));
      await altered(page, /\/api\/(users|product|products)(\/|\?|$)/, (found) => (
        found.items ? { ...found, items: found.items.map(renamed) } : renamed(found, found.user_id ?? found.product_id ?? 0)));
      await altered(page, /\/api\/metrics$/, (found) => {
        for (const [at, metric] of found.metrics.entries()) metric.summary = names[at % 3];
        found.rejected = names.map((file) => ({ file: file.slice(0, 300), reason: file, since: new Date().toISOString() }));
      });
      await altered(page, /\/api\/status$/, (found) => {
        found.readiness.push({ name: 'catalogue', ok: false, needed: false, why: LONG, remedy: MARKUP }, { name: 'other', ok: false, needed: false, why: TURNED });
        found.log.name = MARKUP;
      });
    };
    await everywhere(browser, LOOKS.light, before);
    await everywhere(browser, LOOKS.narrow, before);
  }],
], () => `${judged.runs} views with texts of strangers`);
