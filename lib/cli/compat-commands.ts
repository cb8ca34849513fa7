/** Rows of the table of commands (commands.ts): questions about compatibility, and preparing a target. */
import type { ArgumentSpec, CommandSpec, OptionSpec } from './command-spec.ts';

const SUBJECT = 'device, mdev-type:<parent>/<type>, state file, descriptor file, or - for a descriptor';
const SRC: ArgumentSpec = { usage: '<src>', description: SUBJECT };

export const OVERRIDE: OptionSpec = {
  flags: '--override <id=reason>',
  description: 'overrule the finding with this id; on record; may be given again',
  repeats: true,
};

const POLICY: readonly OptionSpec[] = [
  OVERRIDE,
  {
    flags: '--treat <name=treatment>',
    description: 'how an external fact such as link-speed is treated; may be given again',
    repeats: true,
  },
  {
    flags: '--self-policy <policy>',
    description: 'which of the self/compatible lists must agree; default: mutual',
    choices: ['mutual', 'source', 'target'],
  },
  { flags: '--require-same-type', description: 'refuse different mdev types' },
  {
    flags: '--allow-unverified',
    description: 'take two devices that look identical for compatible, probably',
  },
];
const ALLOW_UNKNOWN: OptionSpec = { flags: '--allow-unknown', description: 'go on when it is not known' };

/** `sidecar`: the option that all commands share which describe devices. */
export function compatCommands(sidecar: OptionSpec): readonly CommandSpec[] {
  return [
    {
      name: 'check',
      summary: 'say whether the state of one device can go to another',
      description: [
        'Compares two descriptions by every rule that applies, and gives all reasons with what would help. No device is opened and nothing is written. Exit code 0: compatible, 10: incompatible, 11: not known. The kernel has the last word when the state is loaded.',
        'A finding has an id, CODE or CODE:PARAMETER. --override names one, with a reason; both go into the report.',
      ],
      args: [SRC, { usage: '<dst>', description: 'the same' }],
      options: [
        {
          flags: '--probe',
          description: "ask the target's driver, where only it can tell: writes to its migration_version",
        },
        {
          flags: '--adapt-source',
          description: 'also offer changes of the source that its guest does not see',
        },
        ...POLICY,
        { flags: '--max-age <seconds>', description: 'descriptions that are older count for nothing' },
        { flags: '--strict', description: 'exit code 12 for a description with a fault in it' },
        sidecar,
      ],
      examples: [
        { command: 'vfio-migrate check 0000:65:00.2 0000:65:00.3', says: 'two devices of this host' },
        {
          command: 'vfio-migrate check nic.vfmig other-host.json',
          says: 'a saved state and a device elsewhere',
        },
      ],
      answers: true,
      load: () => import('./commands/check.ts'),
    },
    {
      name: 'find',
      summary: 'find targets for a device in inventories of many hosts',
      description: [
        'Reads inventories (vfio-migrate describe --all --json, one file for each host), checks the candidates of the right model, and ranks them: fewer writes first, then no creation, then a type made for it before a tuned one. No candidate is contacted. Exit code 0: there is one, 10: there is none, 11: not known.',
        'With --among, many sources get a target each: an instance goes to one source, a type to as many as it has instances left.',
      ],
      args: [{ ...SRC, usage: '[src]' }],
      options: [
        { flags: '--in <file...>', description: 'inventories', required: true, repeats: true },
        { flags: '--among <file...>', description: 'inventories of sources, instead of SRC', repeats: true },
        { flags: '--limit <n>', description: 'candidates to show; default: 10' },
        {
          flags: '--explain',
          description: 'also list those that cannot take it, each with its first reason',
        },
        {
          flags: '--host <name>',
          description: 'only candidates of this host; may be given again',
          repeats: true,
        },
        {
          flags: '--numa-node <n>',
          description: 'only candidates of this node; may be given again',
          repeats: true,
        },
        { ...ALLOW_UNKNOWN, description: 'also show candidates of which it is not known, last' },
        {
          flags: '--probe',
          description: 'ask the drivers of candidates on this host, where only they can tell',
        },
        { flags: '--max-probes <n>', description: 'drivers to ask; default: 3' },
        ...POLICY,
        sidecar,
      ],
      examples: [
        {
          command: 'vfio-migrate find 0000:65:00.2 --in host-*.jsonl',
          says: 'which of these hosts can take it',
        },
        {
          command: 'vfio-migrate find --among host-a.jsonl --in host-b.jsonl host-c.jsonl',
          says: 'empty host-a',
        },
      ],
      answers: true,
      load: () => import('./commands/find.ts'),
    },
    {
      name: 'plan-new',
      summary: 'plan a new device that can live on all of these hosts',
      description: [
        'Reads inventories, and intersects what the implementations of one model allow. The result is an explicit list of parameters, what to set on each host after creation, and the features that are lost. Whoever creates the device stores the list. Exit code 10 when the hosts have nothing in common.',
      ],
      args: [],
      options: [
        { flags: '--hosts <file...>', description: 'inventories', required: true, repeats: true },
        { flags: '--model <model>', description: 'device model', required: true },
        { flags: '--type <type>', description: 'only this mdev type, where a host offers several' },
        {
          flags: '--want <name=value>',
          description: 'a value that the device must have; may be given again',
          repeats: true,
        },
        { flags: '--min-hosts <n>', description: 'so many hosts are enough; default: all' },
      ],
      examples: [
        {
          command: 'vfio-migrate plan-new --hosts host-*.jsonl --model vendor-a.com/my-nic',
          says: 'for all hosts',
        },
      ],
      answers: true,
      load: () => import('./commands/plan-new.ts'),
    },
    {
      name: 'prepare',
      summary: 'bring a target to the values that a source needs',
      description: [
        'Reads every parameter of the target, compares by type, and writes what differs: once each, read back, undone in reverse when one fails. A value is never switched off on the way, and nothing is written to a device that somebody has open unless its description says that this parameter may be. The target is checked first, and refused as by check.',
        'A target mdev-type:PARENT/TYPE is created, and removed again when it cannot be brought to the values.',
        'Before the first write a journal is on disk (/run/vfio-migrate/journal). When the process dies, the next prepare finds what is missing and finishes; --undo restores what was there before.',
      ],
      args: [
        { ...SRC, usage: '[src]' },
        { usage: '[dst]', description: 'device or mdev-type:<parent>/<type> of this host' },
      ],
      options: [
        { flags: '--dry-run', description: 'show exactly the writes, and make none' },
        { flags: '--uuid <uuid>', description: 'of a device that is created; default: a random one' },
        { flags: '--journal <dir>', description: 'directory for the journal' },
        {
          flags: '--undo <file>',
          description: 'restore what this journal says was there; without SRC and DST',
        },
        ALLOW_UNKNOWN,
        ...POLICY,
        sidecar,
      ],
      examples: [
        { command: 'vfio-migrate prepare nic.vfmig 0000:65:00.3 --dry-run', says: 'what would be written' },
        {
          command: 'vfio-migrate prepare gpu.json mdev-type:0000:00:02.0/gfx-4GB',
          says: 'create a device for it',
        },
      ],
      answers: true,
      load: () => import('./commands/prepare.ts'),
    },
  ];
}
