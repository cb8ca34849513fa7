/** Rows of the table of commands (commands.ts): state files. */
import { type CommandSpec, FILE, FORCE, type OptionSpec, OUTPUT } from './command-spec.ts';

const PHASE: OptionSpec = {
  flags: '--phase <name>',
  description: 'only the bytes that were read in this device state',
  choices: ['PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY'],
};

export const FILE_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'inspect',
    summary: 'show what a state file says about itself',
    description: [
      'Reads section headers and descriptions, not the data: fast, and no proof that the file is whole.',
    ],
    args: [FILE],
    options: [],
    examples: [{ command: 'vfio-migrate inspect nic.vfmig', says: 'source, phases, sizes' }],
    answers: true,
    load: () => import('./commands/inspect.ts'),
  },
  {
    name: 'verify',
    summary: 'check that a state file is whole',
    description: [
      'Reads the whole file and checks every checksum, offset and total. Exit code 12 when it is not whole.',
    ],
    args: [FILE],
    options: [],
    examples: [{ command: 'vfio-migrate verify nic.vfmig', says: 'exit code 0 when whole, 12 when not' }],
    answers: false,
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'extract',
    summary: "write the driver's own bytes of a state file",
    description: [
      'Writes exactly the bytes that the driver gave, without frames, all of them or those of one phase. The output gets its final name only if the whole file proved right.',
    ],
    args: [FILE],
    options: [
      OUTPUT,
      FORCE,
      PHASE,
      { flags: '--stream <n>', description: 'which device of a file with several; default: 0' },
      {
        flags: '--config',
        description: 'the configuration space that stands beside the stream, instead of it',
        excludes: 'phase',
      },
    ],
    examples: [
      { command: 'vfio-migrate extract nic.vfmig -o nic.raw', says: 'all bytes in order' },
      { command: 'vfio-migrate extract nic.vfmig -o - --config | xxd', says: 'the configuration space' },
      { command: 'vfio-migrate extract nic.vfmig -o - --phase PRE_COPY | xxd', says: 'one phase, to a pipe' },
    ],
    makes: 'output',
    answers: false,
    load: () => import('./commands/extract.ts'),
  },
  {
    name: 'pack',
    summary: "make a state file from a driver's bytes",
    description: [
      'The way back from extract. The description of the source and the split into phases come from another state file; without one the source is unknown, and all bytes are of STOP_COPY.',
    ],
    args: [
      {
        usage: '<raw...>',
        description: "files with the drivers' bytes, one for each device, or - for standard input",
      },
    ],
    options: [
      OUTPUT,
      FORCE,
      { flags: '--like <file>', description: 'state file whose source and phases the new one repeats' },
      { flags: '--stream <n>', description: 'which device of --like; default: all, with a file for each' },
      {
        flags: '--driver <name>',
        description: 'name of the driver that the bytes come from',
        excludes: 'like',
      },
    ],
    examples: [
      {
        command: 'vfio-migrate pack nic.raw --like nic.vfmig -o again.vfmig',
        says: 'the inverse of extract',
      },
    ],
    makes: 'output',
    answers: false,
    load: () => import('./commands/pack.ts'),
  },
];
