/** Rows of the table of commands (commands.ts): descriptions of devices. */
import { type CommandSpec, FORCE, OPENING, SIDECAR } from './command-spec.ts';

export const DESCRIBE_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'describe',
    summary: 'describe devices and creatable types for check and find',
    description: [
      'Reads what the kernel publishes about a device (in each of the layouts that were proposed) and what sidecar files say about it; nothing is opened. The result is a descriptor: the device model, its parameters with their present values, and where each fact comes from. With --json it is what check, find and plan-new take; for several devices and for --all, one descriptor stands on each line.',
      'No kernel of today publishes anything, so descriptions come from sidecar files: those that ship with this package, then /usr/share/vfio-migrate/models.d, /etc/vfio-migrate/devices.d and /run/vfio-migrate/devices.d; a later directory replaces files by name, and what an administrator wrote counts more than what ships. Exit code 12 when a description cannot be used.',
    ],
    args: [
      {
        usage: '[dev...]',
        description: 'devices, or mdev-type:<parent>/<type> for a type that can be created',
      },
    ],
    options: [
      { flags: '--all', description: 'all devices bound to a vfio driver, and all types of mdev' },
      {
        flags: '--open',
        description: 'open the devices and ask them, too; a vfio-pci device is reset by that',
      },
      { flags: '--explain', description: 'where each fact comes from, and which sidecar entries match' },
      SIDECAR,
      ...OPENING,
    ],
    examples: [
      { command: 'vfio-migrate describe 0000:65:00.2', says: 'one device' },
      {
        command: 'vfio-migrate --json describe --all > $(hostname).jsonl',
        says: 'the inventory of a host, for find',
      },
    ],
    answers: true,
    load: () => import('./commands/describe.ts'),
  },
  {
    name: 'params',
    summary: 'show or set the migration parameters of a device',
    description: [
      'Without an action: the parameters, their values, and which of them are in effect, that is, must be met by a target. `get NAME` prints one value. `set NAME VALUE` compares by type, writes once and only if the value differs, and reads back. What the description rules out is refused without a write: nothing is found out by trying.',
    ],
    args: [
      { usage: '<dev>', description: 'device, or mdev-type:<parent>/<type>' },
      { usage: '[action...]', description: 'get NAME, or set NAME VALUE' },
    ],
    options: [
      {
        flags: '--list-runtime',
        description: 'only parameters that may be changed while the device is open',
      },
      SIDECAR,
    ],
    examples: [
      { command: 'vfio-migrate params 0000:65:00.2', says: 'all parameters' },
      { command: 'vfio-migrate params 0000:65:00.2 set msix-vectors 64', says: 'change one' },
    ],
    answers: true,
    load: () => import('./commands/params.ts'),
  },
  {
    name: 'lint',
    summary: 'check a file that describes devices',
    description: [
      'Takes a migration_info.json, a sidecar file, a descriptor, or a directory with one value per file. Errors make it useless, warnings are about what its author probably did not mean. With a second file, the first is the older version: what the newer one breaks is an error. Exit code 12 when there are errors.',
    ],
    args: [
      { usage: '<file>', description: 'file or directory; with a second one, the older version' },
      { usage: '[file2]', description: 'newer version of it' },
    ],
    options: [{ flags: '--advice', description: 'also say what could be better' }],
    examples: [
      { command: 'vfio-migrate lint nic.json', says: 'one file' },
      { command: 'vfio-migrate lint nic-1.0.json nic-1.1.json', says: 'what a new version breaks' },
    ],
    answers: true,
    load: () => import('./commands/lint.ts'),
  },
  {
    name: 'convert',
    summary: 'convert a description between JSON and one value per file',
    description: [
      'Reads what lint reads, and writes the same description as a migration_info.json in its normal form, or as a directory with one value per file as sysfs has it. Both forms carry the same; text that a line of a file cannot carry is refused.',
    ],
    args: [{ usage: '<from>', description: 'file or directory' }],
    options: [
      { flags: '--to <form>', description: 'form to write', choices: ['json', 'tree'], required: true },
      {
        flags: '-o, --output <path>',
        description: 'file to make, or - for standard output; for a tree, a directory that does not exist',
        required: true,
      },
      { flags: '--model <name>', description: 'for a tree: which of several models' },
      FORCE,
    ],
    examples: [
      { command: 'vfio-migrate convert nic.json --to tree -o nic.d', says: 'one value per file' },
      { command: 'vfio-migrate convert nic.d --to json -o -', says: 'and back' },
    ],
    makes: 'output',
    answers: false,
    load: () => import('./commands/convert.ts'),
  },
];
