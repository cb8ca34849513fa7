/**
 * The commands: one table that the parser, `--help` and the check of docs/cli.md read. A command's code is loaded when
 * it runs.
 */
import { ANY_DEV, type CommandSpec, OPENING, type OptionSpec, SIDECAR, YES_DISCARD } from './command-spec.ts';
import { compatCommands } from './compat-commands.ts';
import { DESCRIBE_COMMANDS } from './describe-commands.ts';
import { FILE_COMMANDS } from './file-commands.ts';
import { SESSION_COMMANDS } from './session-commands.ts';
import { SUITE_COMMANDS } from './suite-commands.ts';

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: 'list',
    summary: 'list the VFIO devices of this host',
    description: [
      'Reads sysfs and debugfs; opens nothing. A device is listed when a vfio driver holds it. The state column is filled where debugfs tells it (kernel 6.8 and newer, CONFIG_VFIO_DEBUGFS).',
    ],
    args: [],
    options: [],
    examples: [{ command: 'vfio-migrate list', says: 'devices, their drivers, groups and states' }],
    answers: true,
    load: () => import('./commands/list.ts'),
  },
  {
    name: 'info',
    summary: 'show what is known about a device',
    description: [
      'Reads sysfs and debugfs. With --open the device itself is asked for its migration capabilities and state. Opening a vfio-pci device resets it, and so does closing it; an mdev decides for itself.',
    ],
    args: [ANY_DEV],
    options: [
      { flags: '--open', description: 'open the device and ask it; a vfio-pci device is reset by that' },
      ...OPENING,
    ],
    examples: [
      { command: 'vfio-migrate info 0000:65:00.2', says: 'without touching the device' },
      { command: 'vfio-migrate info --open 0000:65:00.2', says: 'capabilities, state and estimated size' },
    ],
    answers: true,
    load: () => import('./commands/info.ts'),
  },
  {
    name: 'doctor',
    summary: 'find out why a device cannot be migrated',
    description: [
      'Climbs from the kernel over modules, IOMMU, driver and binding, permissions, group and holders to what the driver offers. Each rung is ok, not ok, or cannot be told; one that is not ok comes with the command that mends it. Nothing is changed, and nothing is opened without --open.',
      'Exit code 0 when all is well, 10 when a rung is not ok, 11 when it cannot be told whether the device can migrate.',
    ],
    args: [{ usage: '[dev]', description: `${ANY_DEV.description}; without it: the host alone` }],
    options: [
      { flags: '--open', description: 'open the device and ask it; a vfio-pci device is reset by that' },
      ...OPENING,
    ],
    examples: [
      { command: 'vfio-migrate doctor', says: 'this host' },
      { command: 'vfio-migrate doctor 0000:65:00.2', says: 'a device of it' },
    ],
    answers: true,
    load: () => import('./commands/doctor.ts'),
  },
  ...SESSION_COMMANDS,
  ...FILE_COMMANDS,
  {
    name: 'reset',
    summary: 'reset a device, erasing what it holds',
    description: [
      'Asks for VFIO_DEVICE_RESET. The device is in RUNNING afterwards, in its initial state. It ends a session that a dead process left behind and leads out of ERROR.',
    ],
    args: [ANY_DEV],
    options: [...OPENING, YES_DISCARD],
    examples: [{ command: 'vfio-migrate reset 0000:65:00.3', says: 'out of ERROR, or of a dead session' }],
    answers: false,
    load: () => import('./commands/reset.ts'),
  },
  ...SUITE_COMMANDS,
  ...DESCRIBE_COMMANDS,
  ...compatCommands(SIDECAR),
];

/** Options of every command, before or after its name. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--json', description: 'print one JSON document (schemas/), errors included' },
  {
    flags: '--mock <scenario>',
    description: 'run on the mock kernel: a scenario that comes with the package, or a file',
    env: 'VFIO_MIGRATE_MOCK',
  },
  {
    flags: '--mock-state <dir>',
    description: 'where mock devices that survive a process keep their state',
    env: 'VFIO_MIGRATE_MOCK_STATE',
  },
  { flags: '-q, --quiet', description: 'no messages, no progress, no summary; errors only' },
  {
    flags: '-v, --verbose',
    description: 'errors with their request, errno, system call and place',
  },
  { flags: '--no-progress', description: 'no progress line, even on a terminal' },
  {
    flags: '--color <when>',
    description: 'colours in text; default: auto',
    choices: ['auto', 'always', 'never'],
  },
];

export const SUMMARY =
  'Save the state of a Linux VFIO device to a file or stream, and load it into another device.';

/** Exit codes, as `--help` and docs/cli.md show them (lib/protocol/errors.ts gives them). */
export const EXIT_CODES: readonly (readonly [code: string, meaning: string])[] = [
  ['0', 'done'],
  ['1', 'failed: permission, busy, I/O, disk'],
  ['2', 'usage'],
  ['10', 'refused by a rule or by the kernel (no migration support, state rejected)'],
  ['11', 'not known whether it can work'],
  ['12', 'malformed document or state file'],
  ['128+n', 'ended by signal n, after the device was brought back'],
];
