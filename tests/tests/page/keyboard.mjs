// Everything by keyboard: the way past the header, views, the list of keys, theme and zone; a focus
// that is always seen and never caught.
import assert from 'node:assert/strict';
import { live, open, play, until } from './browser.mjs';
import { judge, judged } from './axe.mjs';
import { counted } from './load.mjs';

/** What has the focus: its role as far as tests care, its name, and whether it is seen. */
function focused(page) {
  return page.evaluate(() => {
    const one = document.activeElement;
    const style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    const ring =
      (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) ||
      style.boxShadow !== 'none';
    return {
      tag: one.tagName,
      id: one.id,
      text: (one.getAttribute('aria-label') ?? one.textContent).trim().slice(0, 60),
      ring,
      area: box.width * box.height,
    };
  });
}

/** Goes on by Tab until something is focused. */
async function tabTo(page, what, wanted, most = 120) {
  for (let presses = 0; presses < most; presses += 1) {
    const now = await focused(page);
    if (wanted(now)) return now;
    await page.keyboard.press('Tab');
  }
  throw new Error(`${what} is not reached by ${most} presses of Tab`);
}

await play(
  [
    [
      'past the header, and all the way round',
      async (browser) => {
        await counted(0, 500);
        const page = await open(browser);
        await live(page);
        await page.keyboard.press('Tab');
        const skip = await focused(page);
        assert.match(skip.text, /^Skip/);
        assert.ok(
          skip.ring && skip.area > 100,
          'the way past the header is seen when it has the focus',
        );
        await page.keyboard.press('Enter');
        assert.equal((await focused(page)).id, 'main');
        // Nothing catches the focus, and it is always seen.
        const seen = [];
        for (let presses = 0; presses < 200; presses += 1) {
          await page.keyboard.press('Tab');
          const now = await focused(page);
          if (now.tag === 'BODY' || /^Skip/.test(now.text)) break;
          assert.ok(now.ring, `the focus is not seen on ${JSON.stringify(now)}`);
          seen.push(now.text);
        }
        assert.ok(seen.length >= 10 && seen.length < 200, `${seen.length}: ${seen.join(' · ')}`);
        assert.ok(
          seen.some((text) => text.startsWith('Keys')),
          'the footer is reached',
        );
      },
    ],
    [
      'views by their keys, and by the navigation',
      async (browser) => {
        const page = await open(browser);
        await live(page);
        const places = [
          ['g e', 'Explore'],
          ['g b', 'Boards'],
          ['g v', 'Events'],
          ['g d', 'Dead letters'],
          ['g p', 'Plugins'],
          ['g n', /new|metric/i],
          ['g h', 'Health'],
          ['g o', 'Overview'],
        ];
        for (const [keys, name] of places) {
          for (const key of keys.split(' ')) await page.keyboard.press(key);
          await page.getByRole('heading', { level: 1, name }).waitFor();
          // Who reads by ear is taken along.
          await until(`${keys} moves the focus`, async () => (await focused(page)).tag === 'H1');
        }
        await tabTo(page, 'the link to Health', (now) => now.tag === 'A' && now.text === 'Health');
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { level: 1, name: 'Health' }).waitFor();
        await page.goBack();
        await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
      },
    ],
    [
      'the list of keys: opened, kept in, left, switched off',
      async (browser) => {
        const page = await open(browser);
        await live(page);
        await tabTo(page, 'the button of keys', (now) => now.text.startsWith('Keys'));
        await page.keyboard.press('?');
        const dialog = page.getByRole('dialog', { name: 'Keys' });
        await dialog.waitFor();
        await judge(page, 'the list of keys');
        for (let presses = 0; presses < 6; presses += 1) {
          await page.keyboard.press('Tab');
          assert.ok(
            await page.evaluate(
              () =>
                document.activeElement === document.body ||
                document.querySelector('dialog').contains(document.activeElement),
            ),
            'the focus stays in the dialog',
          );
        }
        // No key of the page does something behind it.
        await page.keyboard.press('g');
        await page.keyboard.press('h');
        assert.equal(
          await page
            .getByRole('heading', { level: 1, name: 'Overview', includeHidden: true })
            .count(),
          1,
        );
        await page.keyboard.press('Escape');
        await dialog.waitFor({ state: 'detached' });
        assert.match((await focused(page)).text, /^Keys/, 'the focus is where it was');
        await page.keyboard.press('Enter');
        await dialog.waitFor();
        await dialog.getByRole('checkbox', { name: 'use these keys' }).focus();
        await page.keyboard.press('Space');
        await page.keyboard.press('Escape');
        await page.keyboard.press('g');
        await page.keyboard.press('h');
        await page.keyboard.press('?');
        assert.equal(await dialog.count(), 0);
        await page.reload();
        await live(page);
        await page.keyboard.press('?');
        assert.equal(await dialog.count(), 0, 'what is switched off stays so');
      },
    ],
    [
      'theme and zone, chosen and kept',
      async (browser) => {
        const page = await open(browser);
        await live(page);
        const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
        const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await ground();
        for (const wanted of ['light', 'dark']) {
          await page.keyboard.press('t');
          assert.equal(await theme(), wanted);
        }
        assert.notEqual(await ground(), light);
        const zone = page.getByRole('combobox', { name: 'time zone' });
        await zone.selectOption('Asia/Tokyo');
        await page.reload();
        await live(page);
        assert.equal(await theme(), 'dark');
        assert.equal(await zone.inputValue(), 'Asia/Tokyo');
        await judge(page, 'another zone, dark');
      },
    ],
    [
      "nobody is tied to the browser's storage",
      async (browser) => {
        const page = await open(browser, '#/', {
          before: (made) =>
            made.addInitScript(() => {
              Object.defineProperty(window, 'localStorage', {
                get() {
                  throw new DOMException('denied', 'SecurityError');
                },
              });
            }),
        });
        await live(page);
        await page.keyboard.press('t');
        assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
      },
    ],
  ],
  () => `5 journeys by keyboard, ${judged.runs} judged by axe-core`,
);
