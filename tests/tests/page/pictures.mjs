// The screenshots of the documents: each view, light, dark and narrow, of an engine in use. The argument is
// the folder that they are written to.
import { act, ask, given, live, LOOKS, open, play, until } from './browser.mjs';
import { counted, feed } from './load.mjs';
import { complete } from './proof.mjs';

const [folder] = given;
let taken = 0;

const VIEWS = [
  ['overview', '#/'],
  ['explore', '#/explore/event_frequencies?params={"window":"2h","bucket":"5m"}&live=1'],
  ['events', '#/events'],
  ['letters', '#/letters'],
  ['boards', '#/boards'],
  ['plugins', '#/plugins'],
  ['plugin', '#/plugins/products_popularity'],
  ['new', '#/new'],
  ['health', '#/health'],
];

/** A picture of what is in the window. */
async function take(page, name) {
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: `${folder}/${name}.jpg`, type: 'jpeg', quality: 72, animations: 'disabled', caret: 'hide', scale: 'css' });
  taken += 1;
}

await play([
  ...Object.entries(LOOKS).map(([look, how]) => [look, async (browser) => {
    if (taken === 0) await counted(0, 40_000, { over: 3 * 3_600_000 });
    const page = await open(browser, '#/', { look: how, expected: /40[04]/ });
    await live(page);
    await complete(page);
    const stop = feed(40);
    try {
      for (const [name, view] of VIEWS) {
        await page.evaluate((to) => { location.hash = to; }, view);
        await page.locator('main h1').waitFor();
        await until(`${name} is drawn`, async () => (await page.locator('main [data-state="connecting"]').count()) === 0);
        if (name === 'events') await until('some events', async () => await page.locator('main .event').count() >= 8);
        if (name === 'overview') await complete(page);
        await take(page, `${name}-${look}`);
      }
    } finally {
      await stop();
    }
  }]),
  ['a plugin dropped in while the page is open', async (browser) => {
    const page = await open(browser);
    await live(page);
    await complete(page);
    await act('plugin', { plugin: 'unique_visitors' });
    await page.getByRole('heading', { level: 2, name: 'unique_visitors' }).waitFor();
    await until('it answers', async () => (await ask('api/metrics/unique_visitors')).state === 'active');
    await complete(page);
    await take(page, 'dropped-in');
  }],
], () => `${taken} pictures`);
