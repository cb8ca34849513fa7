/** A UART's state written through its registers, saved, loaded into another device, and saved there again. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { checkRegisters, IMAGE, Register, writeRecipe } from '../suite/mtty.mjs';
import {
  A,
  B,
  ended,
  file,
  good,
  heldPipe,
  json,
  lib,
  registersOf,
  start,
  stateOf,
  via,
  withDevice,
} from './lab.mjs';

const arcsOf = ({ arcs }) => arcs.map(({ from, to }) => `${from} → ${to}`);
const phasesOf = ({ phases }) => phases.map(({ phase, bytes }) => [phase, bytes]);

export const transfer = [
  {
    name: 'save: the bytes that the driver is known to give, header in PRE_COPY',
    async run() {
      await withDevice(A, async (device) => {
        await device.reset();
        await writeRecipe(registersOf(device));
      });
      const report = await json(['save', A, '-o', file('a')]);
      assert.deepEqual(arcsOf(report), ['RUNNING → PRE_COPY', 'PRE_COPY → STOP_COPY', 'STOP_COPY → RUNNING']);
      assert.deepEqual(phasesOf(report), [
        ['PRE_COPY', '24'],
        ['STOP_COPY', '72'],
      ]);
      assert.deepEqual([report.bytes, report.expected], ['96', '96']);
      assert.equal(await stateOf(A), 'RUNNING');
      await good(['extract', file('a'), '-o', file('a.raw')]);
      assert.deepEqual(readFileSync(file('a.raw')), IMAGE);
    },
  },
  {
    name: 'inspect: where the state comes from',
    async run() {
      const { source } = await json(['inspect', file('a')]);
      assert.equal(source.host.kernel, release());
      const [{ migration, ...device }] = source.devices;
      const { address, driver, mdevType } = device;
      assert.deepEqual([address, driver, mdevType, device.via], [`mdev:${A}`, 'mtty', 'mtty-2', via]);
      assert.deepEqual([migration.flags, migration.dataSize], ['0x7', '96']);
    },
  },
  {
    name: 'load: the other device is left in STOP',
    async run() {
      const report = await json(['load', '-i', file('a'), B]);
      assert.deepEqual(arcsOf(report), ['RUNNING → RESUMING', 'RESUMING → STOP']);
      assert.equal(report.verified, 'before');
      assert.equal(report.bytes, '96');
      assert.equal(await stateOf(B), 'STOP');
    },
  },
  {
    name: 'saved again there: the same bytes, and the registers show them',
    async run() {
      const report = await json(['save', B, '-o', file('b')]);
      assert.deepEqual([report.stateFound, report.stateAfter], ['STOP', 'STOP']);
      assert.deepEqual(phasesOf(report), [['STOP_COPY', '96']]);
      await good(['extract', file('b'), '-o', file('b.raw')]);
      assert.deepEqual(readFileSync(file('b.raw')), readFileSync(file('a.raw')));
      await withDevice(B, async (device) => {
        await device.setState(lib.State.RUNNING);
        await checkRegisters(registersOf(device));
      });
    },
  },
  {
    name: 'through a pipe, without pre-copy, and on to RUNNING',
    async run() {
      // Something that the file of before does not hold, so that nothing but the pipe can have brought it.
      const MARK = 0x3c;
      await withDevice(A, (device) => registersOf(device).write(1, Register.SCR, MARK));
      const pipe = await heldPipe();
      const save = start(['save', A, '--no-precopy', '-o', '-'], { stdout: pipe.writer });
      const load = start(['--json', 'load', '-i', '-', '--then', 'running', B], { stdin: pipe.reader });
      pipe.end();
      const [saved, loaded] = await Promise.all([save.done, load.done]);
      ended(saved, 0);
      assert.match(saved.stderr, /STOP_COPY 96 bytes/);
      assert.doesNotMatch(saved.stderr, /PRE_COPY/);
      const report = JSON.parse(ended(loaded, 0).stdout);
      assert.deepEqual([report.verified, report.stateAfter], ['on-the-way', 'RUNNING']);
      await withDevice(B, async (device) => {
        assert.equal(await device.state(), lib.State.RUNNING);
        const registers = registersOf(device);
        assert.equal(await registers.read(1, Register.SCR), MARK);
        await registers.write(1, Register.SCR, 0x5a);
        await checkRegisters(registers);
      });
    },
  },
  {
    name: 'save --move leaves the device in STOP and says so',
    async run() {
      const { stdout } = await good(['save', '--move', A, '-o', file('moved')]);
      assert.match(stdout, /left STOP: it must be closed or reset, never run/);
      assert.equal(await stateOf(A), 'STOP');
      await withDevice(A, (device) => device.reset());
    },
  },
];
