import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mockHost } from 'vfio-migrate/mock';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { evacuate } from './evacuate.js';

const [ONE, TWO, OLDER] = ['0000:81:00.1', '0000:81:00.2', '0000:82:00.1'];

let host;
let directory;
let file;
beforeEach(() => {
  host = mockHost(new URL('./acme-host.json', import.meta.url).pathname);
  directory = mkdtempSync(join(tmpdir(), 'acme.'));
  file = join(directory, 'state');
});
afterEach(async () => {
  // Whatever a test did to the driver, nothing stays open.
  expect(host.openFds()).toEqual([]);
  await host.close();
  rmSync(directory, { recursive: true });
});

test('the state arrives', async () => {
  expect(await evacuate(host, ONE, TWO, file)).toBe(2n << 20n);
});

test('the model before refuses it', async () => {
  await expect(evacuate(host, ONE, OLDER, file)).rejects.toMatchObject({
    code: 'state-rejected',
    facts: { device: `pci:${OLDER}`, stateAfter: 'RUNNING', recovery: 'reset' },
  });
});

test.each([
  'setstate-emfile',
  'arc-eio@RUNNING_P2P>STOP',
  'arc-eio-error@STOP>STOP_COPY',
  'read-eio#2',
  'owner-read-running',
])('a save under %s leaves no file and says where the device is', async (fault) => {
  host.setFaults([fault]);
  const error = await evacuate(host, ONE, TWO, file).catch((caught) => caught);
  expect(host.faults().find(({ name }) => name === fault).fired).toBe(1);
  expect(error.facts.stateAfter).toMatch(/^[A-Z0-9_]+$/);
  expect(error.facts.remedy).toBeTruthy();
  expect(existsSync(file)).toBe(false);
});

test.each(['stream-lost', 'stream-flipped'])('%s: our driver sees it', async (fault) => {
  host.setFaults([{ fault, device: `${TWO}`, offset: '1MiB' }]);
  await expect(evacuate(host, ONE, TWO, file)).rejects.toMatchObject({ code: 'state-rejected' });
});
