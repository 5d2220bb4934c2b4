// A metric in a minute, without code: keys and cells among the fields of recent events, counted before it
// exists, taken as TOML or added, and taken away again.
import assert from 'node:assert/strict';
import { act, ask, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted } from './load.mjs';

await play([
  ['without events', async (browser) => {
    await act('plugin', { plugin: 'counts' });
    await act('configure', { config: '[metrics.counts]\nconfig.cells = { events = "count" }\n' });
    await until('the plugin that counts is there', async () => (await ask('api/metrics')).metrics.some((one) => one.plugin === 'counts'));
    const page = await open(browser, '#/new');
    await live(page);
    await page.locator('main [data-state="empty"]').waitFor();
    await judgeAll(page, 'no fields yet');
  }],
  ['chosen, previewed, added, removed', async (browser) => {
    await counted(0, 2000);
    const page = await open(browser, '#/new', { expected: /4(09|22)/ });
    await live(page);
    const fields = page.getByRole('table', { name: 'Fields of recent events' });
    const { fields: found } = await ask('api/fields');
    await until('the fields that events have', async () => await fields.locator('tbody tr').count() >= Math.min(5, found.length));
    await judgeAll(page, 'fields');
    await fields.getByRole('button', { name: /count by event_type/ }).click();
    await page.locator('main .preview data').first().waitFor();
    await judgeAll(page, 'a preview');
    // The preview is what `POST api/preview` answers of the same.
    const query = new URLSearchParams(new URL(page.url()).hash.split('?')[1]);
    const { result, meta } = await ask('api/preview', { plugin: 'counts', config: JSON.parse(query.get('config')), params: JSON.parse(query.get('params') ?? '{}') });
    assert.ok(meta.records >= 2000 && JSON.stringify(result).length > 10);
    const drawn = page.locator('main .preview data[data-at^="/total/"]').first();
    const [of, value] = [await drawn.getAttribute('data-at'), await drawn.getAttribute('value')];
    assert.equal(value, String(result.total[of.split('/').at(-1)]));
    const { plugins } = await ask('api/plugins');
    assert.ok(plugins.some((one) => one.name === 'counts' && one.config_schema.properties.cells));
    const toml = await page.getByLabel('section', { exact: true }).locator('xpath=descendant-or-self::pre').first().innerText();
    assert.match(toml, /plugin = "counts"/);
    await page.getByLabel('Name', { exact: true }).fill('by_type');
    const change = page.getByRole('region', { name: 'Have it counted' });
    await change.getByRole('button', { name: 'Add' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.waitFor();
    await judgeAll(page, 'before it is added');
    await dialog.getByRole('button', { name: /^Add/ }).click();
    await until('it is served', async () => (await ask('api/metrics')).metrics.some((one) => one.name === 'by_type' && one.state === 'active'));
    await page.evaluate(() => { location.hash = '#/'; });
    await page.getByRole('heading', { level: 2, name: 'by_type' }).waitFor();
    await page.goBack();
    await change.getByRole('button', { name: 'Take away' }).click();
    await dialog.getByRole('button', { name: 'Take away' }).click();
    await until('it is gone', async () => !(await ask('api/metrics')).metrics.some((one) => one.name === 'by_type' && one.state === 'active'));
  }],
], () => `2 journeys to a metric; axe-core ${judged.runs} times`);
