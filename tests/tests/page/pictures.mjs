// The screenshots of the documents: each view of an engine in use, light and narrow, some dark. The
// argument is the folder that they are written to.
import { writeFileSync } from 'node:fs';
import { act, ask, given, live, LOOKS, open, play, until } from './browser.mjs';
import { reached } from './load.mjs';
import { complete } from './proof.mjs';
import { opened, strays } from './shop.mjs';

const [folder] = given;
let taken = 0;

/** Most bytes of a picture, and the qualities that are tried in turn. */
const [MOST, QUALITIES] = [100_000, [84, 76, 68, 60, 52, 44, 36]];

/** Events a second of a shop that is open; a history that is sent makes more. */
const CALM = 12;

const SALES = {
  by: ['/category'],
  only: ['buy'],
  cells: { sales: 'count', revenue: { sum: '/price' }, buyers: { distinct: 'user_id' } },
};

/** On the overview: as many new events as it shows. */
const NEWEST = 'main .event >> nth=7';

/** The address of a view. */
const at = (path, query) => `#/${path}?${new URLSearchParams(query)}`;

/** Windows that are not narrow; most of their height where all of a view is in the picture. */
const [WIDE, HIGHEST] = [{ width: 1280, height: 800 }, 1100];

/**
 * By name: the address, and what is there once it is drawn (`wide`: where the window is wide);
 * `dark`: also in the dark; `whole`: all of it where the window is wide.
 */
const VIEWS = [
  { name: 'overview', view: '#/', there: NEWEST, dark: true, whole: true },
  {
    name: 'explore',
    view: at('explore/event_frequencies', { params: '{"window":"24h","bucket":"15m"}', live: 1 }),
    there: 'main canvas >> nth=0',
    dark: true,
  },
  { name: 'boards', view: '#/boards/shop', there: 'main canvas >> nth=0', dark: true },
  {
    name: 'events',
    view: '#/events',
    there: 'main .event >> nth=9',
    wide: 'main .event >> nth=15',
  },
  { name: 'letters', view: '#/letters', there: 'main .letter >> nth=0' },
  { name: 'plugins', view: '#/plugins', there: 'main table >> nth=0' },
  { name: 'plugin', view: '#/plugins/products_popularity', there: 'main table >> nth=0' },
  {
    name: 'new',
    view: at('new', {
      name: 'sales_by_category',
      plugin: 'counts',
      config: JSON.stringify(SALES),
    }),
    there: 'main .preview data >> nth=0',
  },
  { name: 'health', view: '#/health', there: 'main table >> nth=0' },
];

/** A picture of what is in the window, as good as it may be large. */
async function take(page, name) {
  await page.evaluate(() => document.fonts.ready);
  const how = { type: 'jpeg', animations: 'disabled', caret: 'hide', scale: 'css' };
  let picture;
  for (const quality of QUALITIES) {
    picture = await page.screenshot({ ...how, quality });
    if (picture.length < MOST) break;
  }
  writeFileSync(`${folder}/${name}.jpg`, picture);
  taken += 1;
}

const isWide = (page) => page.viewportSize().width >= WIDE.width;

/** Makes a wide window as high as the pictures are, or as what is in it. */
async function fit(page, whole = false) {
  if (!isWide(page)) return;
  await page.setViewportSize(WIDE);
  if (!whole) return;
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ ...WIDE, height: Math.min(height, HIGHEST) });
}

/** Goes to a view, and waits until all of it is drawn. */
async function go(page, { name, view, there, wide, whole }) {
  await page.evaluate((to) => {
    location.hash = to;
  }, view);
  await page.locator('main h1').waitFor();
  await page.locator((isWide(page) && wide) || there).waitFor();
  await until(
    `${name} is drawn`,
    async () => (await page.locator('main [data-state="connecting"]').count()) === 0,
  );
  if (name === 'overview') await complete(page);
  await fit(page, whole);
}

/** Waits until a metric has counted its history. */
const active = (name) =>
  until(`${name} answers`, async () => (await ask(`api/metrics/${name}`)).state === 'active');

let shop;

await play(
  [
    [
      'strays become dead letters',
      async () => {
        await reached(await strays());
        await act('stop');
        // It goes on with `[server]`, in which the settings before it end.
        await act('configure', { config: 'boards = "boards"\n' });
        await act('start');
        await until('letters of each kind', async () => {
          const { counts } = await ask('api/dead-letters');
          return Object.keys(counts).length === 5;
        });
      },
    ],
    [
      'a shop that is open',
      async () => {
        for (const plugin of ['conversion', 'counts', 'revenue']) await act('plugin', { plugin });
        for (const name of ['conversion', 'revenue']) await active(name);
        shop = await opened();
        await reached(shop.position);
        await until(
          'the rate of a shop',
          async () => (await ask('api/status')).rate.events_per_s < CALM,
        );
      },
    ],
    [
      'a plugin dropped in while the page is open',
      async (browser) => {
        const page = await open(browser);
        await live(page);
        await complete(page);
        await act('plugin', { plugin: 'unique_visitors' });
        await page.getByRole('heading', { level: 2, name: 'unique_visitors' }).waitFor();
        await active('unique_visitors');
        await complete(page);
        await page.locator(NEWEST).waitFor();
        await fit(page, true);
        await take(page, 'dropped-in');
      },
    ],
    ...Object.entries(LOOKS).map(([look, how]) => [
      look,
      async (browser) => {
        const page = await open(browser, '#/', { look: how, expected: /40[04]/ });
        await live(page);
        for (const one of VIEWS.filter(({ dark }) => look !== 'dark' || dark)) {
          await go(page, one);
          await take(page, `${one.name}-${look}`);
        }
      },
    ]),
    ['the shop closes', () => shop.close()],
  ],
  () => `${taken} pictures`,
);
