// Every view, light, dark, narrow, wide: no fault that axe-core finds, a name for all that can be
// operated, one heading, landmarks, nothing wider than the window, a title of its own, and nothing
// said on the console or sent anywhere else.
import assert from 'node:assert/strict';
import { ask, live, LOOKS, open, play, until, WIDE } from './browser.mjs';
import { judge, judged } from './axe.mjs';
import { counted } from './load.mjs';
import { complete } from './proof.mjs';

/** Addresses of all views, with what is in them. */
export const VIEWS = [
  '#/',
  '#/explore',
  '#/explore/event_frequencies',
  '#/explore/products_popularity?params={"limit":5}&live=1',
  '#/explore/user_activities?params={"user_id":1,"window":"2h","bucket":"15m"}',
  '#/boards',
  '#/events',
  '#/letters',
  '#/records/0/0',
  '#/plugins',
  '#/plugins/event_frequencies',
  '#/new',
  '#/health',
  '#/nowhere',
];

const titles = new Map();

/** What is so on every view. */
async function sound(page, view) {
  await until(
    `${view} is drawn`,
    async () =>
      (await page.locator('main h1').count()) === 1 &&
      (await page.locator('[data-state="connecting"]').count()) === 0,
  );
  const {
    h1,
    landmarks,
    width,
    window: room,
    title,
    lang,
    tiny,
  } = await page.evaluate(() => ({
    h1: document.querySelectorAll('h1').length,
    landmarks: ['header', 'nav', 'main', 'footer'].map(
      (name) => document.querySelectorAll(name).length,
    ),
    width: document.documentElement.scrollWidth,
    window: document.documentElement.clientWidth,
    title: document.title,
    lang: document.documentElement.lang,
    tiny: [...document.querySelectorAll('a, button, input:not(.sr-only), select')]
      .filter((one) => {
        const { width: w, height: h } = one.getBoundingClientRect();
        return w > 0 && getComputedStyle(one).visibility !== 'hidden' && (h < 12 || w < 4);
      })
      .map((one) => one.outerHTML.slice(0, 120)),
  }));
  assert.equal(h1, 1, view);
  assert.deepEqual(
    landmarks.map((count) => count >= 1),
    [true, true, true, true],
    view,
  );
  assert.ok(width <= room, `${view} is ${width} px wide where ${room} are`);
  assert.equal(lang, 'en');
  assert.deepEqual(tiny, [], view);
  // All places of the header can be seen, and how far behind the engine is.
  const hidden = await page.evaluate(() =>
    [...document.querySelectorAll('.shell-nav a, .vitals .lag')]
      .filter((one) => {
        const { left, right, height } = one.getBoundingClientRect();
        return height === 0 || left < 0 || right > document.documentElement.clientWidth;
      })
      .map((one) => one.textContent),
  );
  assert.deepEqual(hidden, [], view);
  const failed = await page.getByText('This view has failed').count();
  assert.equal(failed, 0, `${view} has failed`);
  titles.set(view, title);
}

await play(
  Object.entries({ ...LOOKS, wide: WIDE }).map(([name, look]) => [
    `every view, ${name}`,
    async (browser) => {
      if (!titles.size) await counted(0, 2000);
      const { position } = await ask('api/metrics', { name: 'event_frequencies', params: {} }).then(
        (answer) => answer.meta,
      );
      assert.ok(position);
      const page = await open(browser, '#/', { look, expected: [/40[04]|422/] });
      await live(page);
      for (const view of VIEWS) {
        await page.evaluate((to) => {
          location.hash = to;
        }, view);
        await live(page);
        if (view === '#/') await complete(page);
        await sound(page, view);
        await judge(page, `${view}, ${name}`);
      }
      // Every view names its window.
      assert.ok(
        new Set(VIEWS.map((view) => titles.get(view))).size >= 10,
        [...titles.values()].join(),
      );
    },
  ]),
  () => `${judged.runs} views without a fault of axe-core, ${judged.controls} controls with names`,
);
