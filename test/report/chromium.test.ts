/** The page in a browser: what a reader sees and does. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { page } from '../../lib/report/page/page.ts';
import { Chromium, findChromium, type Page } from '../helpers/chromium.ts';
import { scratch } from '../helpers/cli.ts';
import { FAULTY, hostile, read, runText } from './sample.ts';

const PATIENCE_MS = 300_000;
/** Where pictures of the pages are kept, to be looked at. */
const PICTURES = process.env.VFIO_MIGRATE_TEST_PICTURES;

const path = findChromium();

describe.skipIf(path === null)('in Chromium', () => {
  let browser: Chromium;
  let dir: ReturnType<typeof scratch>;
  const urls: Record<string, string> = {};

  beforeAll(async () => {
    dir = scratch();
    const [good, bad] = [await runText(), await runText(FAULTY)];
    const pages = {
      one: page(read(bad)),
      two: page(read(good), read(bad)),
      hostile: page(read(hostile(good)), read(hostile(bad))),
    };
    for (const [name, text] of Object.entries(pages)) {
      writeFileSync(dir.file(`${name}.html`), text);
      urls[name] = pathToFileURL(dir.file(`${name}.html`)).href;
    }
    browser = new Chromium(path as string);
  }, PATIENCE_MS);

  afterAll(async () => {
    await browser?.close();
    dir?.remove();
  }, PATIENCE_MS);

  async function picture(shown: Page, name: string): Promise<void> {
    if (PICTURES === undefined) return;
    const { data } = await shown.send('Page.captureScreenshot', { captureBeyondViewport: true });
    mkdirSync(PICTURES, { recursive: true });
    writeFileSync(join(PICTURES, `${name}.png`), Buffer.from(data, 'base64'));
  }

  const visible = `[...document.querySelectorAll('.checks tbody tr')].filter((row) => row.offsetParent !== null || row.getClientRects().length > 0).map((row) => row.id.slice(6))`;

  it.each([
    [1280, 'light'],
    [1280, 'dark'],
    [390, 'light'],
    [390, 'dark'],
  ] as const)(
    'fits a width of %s, %s',
    async (width, scheme) => {
      for (const name of ['one', 'two', 'hostile']) {
        const shown = await browser.open(urls[name] as string, width, scheme);
        // Only what is meant to be scrolled is wider than its place.
        const wide = `[...document.querySelectorAll('body *')].filter((one) => !one.closest('.scroll, svg') && one.getBoundingClientRect().right > ${width} + 0.5).map((one) => one.tagName + '.' + one.className)`;
        expect([name, await shown.value(wide)]).toEqual([name, []]);
        expect(await shown.value('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
        const dark = `getComputedStyle(document.body).backgroundColor`;
        expect(await shown.value(dark)).toBe(scheme === 'dark' ? 'rgb(20, 23, 26)' : 'rgb(255, 255, 255)');
        await picture(shown, `${name}-${width}-${scheme}`);
      }
    },
    PATIENCE_MS,
  );

  it(
    'prints on white, without what only a screen needs',
    async () => {
      const shown = await browser.open(urls.two as string, 1280, 'dark');
      await shown.send('Emulation.setEmulatedMedia', {
        media: 'print',
        features: [{ name: 'prefers-color-scheme', value: 'dark' }],
      });
      const style = (selector: string, name: string) =>
        shown.value(`getComputedStyle(document.querySelector('${selector}')).${name}`);
      expect(await style('body', 'backgroundColor')).toBe('rgb(255, 255, 255)');
      expect(await style('body', 'color')).toBe('rgb(22, 25, 29)');
      expect(await style('#filters', 'display')).toBe('none');
      expect(await style('.tools', 'display')).toBe('none');
      expect(await style('.legend .key', 'width')).toBe('28px');
      await picture(shown, 'two-print');
      const { data } = await shown.send('Page.printToPDF');
      expect(Buffer.from(data, 'base64').subarray(0, 5).toString()).toBe('%PDF-');
    },
    PATIENCE_MS,
  );

  it(
    'says the verdict, and unfolds what failed, with its timeline',
    async () => {
      const shown = await browser.open(urls.one as string, 1280);
      expect(await shown.value(`document.querySelector('.said').innerText`)).toMatch(/fail/);
      const failed = await shown.value(`document.querySelector('.look a').textContent`);
      const row = `document.getElementById('check-${failed}')`;
      expect(await shown.value(`${row}.querySelector('details').open`)).toBe(true);
      expect(await shown.value(`${row}.querySelector('.mismatches').innerText`)).toMatch(/EIO/);
      const bars = `[...${row}.querySelectorAll('.arc rect')].every((one) => one.getBoundingClientRect().height > 0)`;
      expect(await shown.value(bars)).toBe(true);
    },
    PATIENCE_MS,
  );

  it(
    'is to scale on the screen',
    async () => {
      const shown = await browser.open(urls.one as string, 1280);
      const document = read(await runText(FAULTY));
      expect(document.checks.length).toBeGreaterThan(100);
      const lane = await shown.value(
        `[...document.querySelectorAll('.run-line svg.c')].map((one) => [one.getAttribute('x'), one.getAttribute('width'), one.querySelector('.fill').getBoundingClientRect().x, one.querySelector('.fill').getBoundingClientRect().width])`,
      );
      const box = await shown.value(
        `(({ x, width }) => ({ x, width }))(document.querySelector('.run-line svg.tl').getBoundingClientRect())`,
      );
      expect(lane.length).toBeGreaterThan(100);
      for (const [x, width, left, wide] of lane) {
        expect(Math.abs(left - box.x - (Number.parseFloat(x) * box.width) / 100)).toBeLessThan(1.5);
        expect(Math.abs(wide - (Number.parseFloat(width) * box.width) / 100)).toBeLessThan(1.5);
      }
    },
    PATIENCE_MS,
  );

  it(
    'filters by outcome and by words, and says how many are shown',
    async () => {
      const shown = await browser.open(urls.two as string, 1280);
      const all: string[] = await shown.value(visible);
      expect(await shown.value(`document.getElementById('shown').textContent`)).toBe(
        `${all.length} of ${all.length} shown`,
      );
      await shown.click('[data-filter="fail"]');
      const failed: string[] = await shown.value(visible);
      expect(failed.length).toBeGreaterThan(0);
      expect(failed.length).toBeLessThan(10);
      expect(await shown.value(`document.querySelector('[data-filter="fail"]').ariaPressed`)).toBe('true');
      await shown.click('[data-filter="fail"]');
      await shown.click('[data-filter="changed"]');
      const changed: string[] = await shown.value(visible);
      expect(changed).toContain(failed[0]);
      await shown.click('[data-filter="changed"]');
      await shown.value(`document.getElementById('search').focus()`);
      await shown.send('Input.insertText', { text: 'write-pieces segmentation' });
      const found: string[] = await shown.value(visible);
      expect(found.length).toBeGreaterThan(0);
      for (const id of found) expect(id).toMatch(/^data\.write-pieces/);
      await shown.send('Input.insertText', { text: ' nowhere' });
      expect(await shown.value(visible)).toEqual([]);
      expect(await shown.value(`document.getElementById('none').innerText`)).toBe('No check is like that.');
    },
    PATIENCE_MS,
  );

  it(
    'is widened by keys and buttons, around what is looked at',
    async () => {
      const shown = await browser.open(urls.one as string, 1280);
      const width = `document.querySelector('.run-line svg.tl').getBoundingClientRect().width`;
      const before = await shown.value(width);
      await shown.value(`document.querySelector('.run-line').focus()`);
      await shown.press('+', '+');
      expect(await shown.value(width)).toBe(2 * before);
      await shown.click('.tools button[aria-label=wider]');
      expect(await shown.value(width)).toBe(4 * before);
      expect(await shown.value(`document.querySelector('.run-line').scrollLeft`)).toBeGreaterThan(before);
      await shown.value(`document.querySelector('.run-line').focus()`);
      await shown.press('0', '0');
      expect(await shown.value(width)).toBe(before);
    },
    PATIENCE_MS,
  );

  it(
    'a link into a check that is folded and filtered away leads there',
    async () => {
      const shown = await browser.open(urls.one as string, 390);
      await shown.value(`document.getElementById('search').focus()`);
      await shown.send('Input.insertText', { text: 'nowhere' });
      await shown.value(`location.hash = '#check-data.write-pieces.7'`);
      const row = `document.getElementById('check-data.write-pieces.7')`;
      await shown.until(`${row}.querySelector('details').open`);
      expect(await shown.value(`${row}.getBoundingClientRect().height > 100`)).toBe(true);
      expect(await shown.value(`document.activeElement === ${row}.querySelector('summary')`)).toBe(true);
    },
    PATIENCE_MS,
  );

  it(
    'every control can be reached by the keyboard, and has a name',
    async () => {
      const shown = await browser.open(urls.two as string, 1280);
      const { nodes } = await shown.send('Accessibility.getFullAXTree');
      const roles = ['button', 'link', 'searchbox', 'DisclosureTriangle', 'region'];
      // biome-ignore lint/suspicious/noExplicitAny: nodes of the accessibility tree
      const controls = nodes.filter((node: any) => roles.includes(node.role?.value));
      expect(controls.length).toBeGreaterThan(100);
      for (const { name, role, properties } of controls) {
        expect([role.value, name?.value ?? '']).toEqual([role.value, expect.stringMatching(/\S/)]);
        // biome-ignore lint/suspicious/noExplicitAny: properties of a node
        const focusable = properties?.some((one: any) => one.name === 'focusable' && one.value.value);
        expect([name.value, focusable]).toEqual([name.value, true]);
      }
    },
    PATIENCE_MS,
  );

  it(
    'nothing that a document says runs, and nothing is fetched or refused',
    async () => {
      for (const name of ['one', 'two', 'hostile']) {
        const first = browser.events.length;
        const shown = await browser.open(urls[name] as string, 1280);
        expect(await shown.value('document.documentElement.dataset.owned ?? null')).toBe(null);
        expect(
          await shown.value(`document.querySelectorAll('img, iframe, object, embed, base').length`),
        ).toBe(0);
        expect(await shown.value('document.scripts.length')).toBe(1);
        // The script has run: a policy that does not fit it would have stopped it.
        expect(await shown.value(`document.getElementById('filters').hidden`)).toBe(false);
        const since = browser.events.slice(first);
        const requests = since.filter(({ method }) => method === 'Network.requestWillBeSent');
        expect(requests.map(({ params }) => params.request.url)).toEqual([urls[name]]);
        const complaints = ['Log.entryAdded', 'Runtime.exceptionThrown', 'Runtime.consoleAPICalled'];
        expect(since.filter(({ method }) => complaints.includes(method))).toEqual([]);
      }
    },
    PATIENCE_MS,
  );

  it(
    'an injected script would not run either: the policy refuses it',
    async () => {
      const shown = await browser.open(urls.one as string, 1280);
      const inject = `(() => { const one = document.createElement('script'); one.textContent = 'document.documentElement.dataset.owned = 1'; document.body.append(one); const two = document.createElement('div'); two.innerHTML = '<img src=x onerror="document.documentElement.dataset.owned = 1">'; document.body.append(two); })()`;
      const first = browser.events.length;
      await shown.value(inject);
      const refused = () =>
        browser.events
          .slice(first)
          .filter(
            ({ method, params }) =>
              method === 'Log.entryAdded' && /Content Security Policy/.test(params.entry.text),
          );
      while (refused().length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await shown.value('document.documentElement.dataset.owned ?? null')).toBe(null);
    },
    PATIENCE_MS,
  );
});
