/**
 * The commands: one table that the parser, `--help` and the check of docs/cli.md read. A command's code is loaded when
 * it runs.
 */
import { compatCommands, OVERRIDE } from './compat-commands.ts';
import type { CommandModule } from './context.ts';

export interface ArgumentSpec {
  /** `<dev>` must be given, `[dev]` may; `<dev...>` and `[dev...]` take all that follow. */
  readonly usage: string;
  readonly description: string;
}

export interface OptionSpec {
  /** As commander has it: `-o, --output <file>`. */
  readonly flags: string;
  readonly description: string;
  readonly choices?: readonly string[];
  /** The command makes no sense without it. */
  readonly required?: boolean;
  /** May be given more than once; the values are a list. */
  readonly repeats?: boolean;
  /** This option or that one (as a member) must be given. */
  readonly oneOf?: string;
  /** Option (as a member) that may not be given beside it. */
  readonly excludes?: string | readonly string[];
  /** Takes everything that follows it on the command line. */
  readonly rest?: boolean;
  /** Environment variable that gives the value when the option does not. */
  readonly env?: string;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  /** What a person must know before using it. Paragraphs. */
  readonly description: readonly string[];
  readonly args: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly { readonly command: string; readonly says: string }[];
  /**
   * Option that names the file a command makes. When it is `-`, standard output carries bytes: the summary goes to
   * standard error, and `--json` is refused.
   */
  readonly makes?: string;
  /** What it prints is the reason to call it: `--quiet` leaves it alone. */
  readonly answers: boolean;
  readonly load: () => Promise<CommandModule>;
}

const DEV: ArgumentSpec = {
  usage: '<dev>',
  description: 'PCI address, mdev UUID, /dev/vfio/… or sysfs path, or pci:… mdev:… cdev:…',
};
const ANY_DEV: ArgumentSpec = {
  usage: '<dev>',
  description: `${DEV.description}; one that is open already: fd:N unix:PATH pid:PID[:FD]`,
};
const SEVERAL = 'Several devices become one file, with a stream for each';
const NO_P2P: OptionSpec = {
  flags: '--no-p2p-between',
  description: 'several devices: none of them writes to another, so that they may lack P2P states',
};
const FILE: ArgumentSpec = { usage: '<file>', description: 'state file, or - for standard input' };
const OUTPUT: OptionSpec = {
  flags: '-o, --output <file>',
  description: 'file to make, or - for standard output',
  required: true,
};
const FORCE: OptionSpec = { flags: '--force', description: 'replace the file if it exists' };
const OPENING: readonly OptionSpec[] = [
  {
    flags: '--via <path>',
    description: 'how to open the device; default: its cdev when there is one, else its group',
    choices: ['group', 'cdev'],
  },
  { flags: '--vf-token <uuid>', description: 'the token of the PF, for a VF of a PF bound to vfio-pci' },
];
const RESET_IF_ERROR: OptionSpec = {
  flags: '--reset',
  description: 'reset a device found in ERROR first; this erases what it holds',
};
const YES_DISCARD: OptionSpec = {
  flags: '--yes-discard',
  description: 'adopted device: what it holds may be lost',
};
const OWNER: readonly OptionSpec[] = [
  {
    flags: '--pause-cmd <cmd>',
    description: 'adopted device: shell command that pauses its owner, before the device is stopped',
  },
  {
    flags: '--resume-cmd <cmd>',
    description: '… and the one that lets it go on, when the device is back',
  },
  {
    flags: '--pause-first',
    description: '… pause it before the session begins: it takes the device to STOP itself (virsh suspend)',
    excludes: ['qmp', 'unpaused'],
  },
  {
    flags: '--qmp <socket>',
    description: 'adopted device: pauses the guest that has it by QMP (stop, cont)',
    excludes: ['pauseCmd', 'resumeCmd', 'unpaused'],
  },
  {
    flags: '--unpaused',
    description: 'adopted device: go on although nothing pauses its owner',
    excludes: ['pauseCmd', 'resumeCmd'],
  },
  YES_DISCARD,
];
const FREEZE: readonly OptionSpec[] = [
  {
    flags: '--freeze',
    description:
      'device of another process (pid:), as a last resort: stop that process while the device stands still',
    excludes: ['pauseCmd', 'resumeCmd', 'qmp', 'unpaused', 'move', 'peer'],
  },
  {
    flags: '--freeze-max <time>',
    description:
      'let it go on after so long in any case, and give up before that (2s, 500ms, …); default: 2s',
  },
];
const PRECOPY: readonly OptionSpec[] = [
  { flags: '--no-precopy', description: 'do not read in PRE_COPY, even if the device can' },
  {
    flags: '--precopy-max-seconds <s>',
    description: 'stop the device after so long in PRE_COPY; default: 10',
  },
  {
    flags: '--dirty-threshold <size>',
    description: 'stop the device when at most so many bytes are dirty (64KiB, 1MiB, …); default: 0',
  },
  { flags: '--no-wait-initial', description: 'stop it although its driver has initial bytes to give' },
];
const PEER_TIMEOUT: OptionSpec = {
  flags: '--peer-timeout <s>',
  description: 'how long the other end may say nothing; default: 60',
};
const RECORD_LATENCY: OptionSpec = {
  flags: '--record-latency <file>',
  description: 'add to this record how long requests take, and predict from it',
};
const DOWNTIME: readonly OptionSpec[] = [
  {
    flags: '--downtime-limit <ms>',
    description: 'do not stop the device if it is predicted to stand still for longer',
  },
  { flags: '--downtime-hard <ms>', description: 'take the save back if it stands still for longer' },
  RECORD_LATENCY,
];
const TRACE: OptionSpec = {
  flags: '--trace <file>',
  description: 'write what the session did, and when, for Perfetto (ui.perfetto.dev)',
};
const PHASE: OptionSpec = {
  flags: '--phase <name>',
  description: 'only the bytes that were read in this device state',
  choices: ['PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY'],
};

const SIDECAR: OptionSpec = {
  flags: '--sidecar <path>',
  description: 'sidecar file or directory; replaces all others, may be given again',
  repeats: true,
};

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
  {
    name: 'save',
    summary: "save a device's state to a file",
    description: [
      'Reads the whole migration state of the device and writes a state file. The device ends in the state it was found in, or in STOP with --move. It opens the device: it must be bound to a vfio driver and idle. A vfio-pci device is reset when it is opened and when it is closed, so what is saved is the state of a freshly reset device.',
      'A device that is open already keeps what it holds: name the one who has it (fd:N, unix:PATH, pid:PID). It belongs to its owner, who has to be paused for a state that fits the rest of a guest, or --unpaused says that this does not matter (docs/owners.md).',
      `${SEVERAL}: a snapshot of one moment. All reach their P2P states before the first is stopped, and RUNNING_P2P before the first runs again; if one fails, all are brought back. More than one without P2P states is refused.`,
      'The file gets its final name when it is complete and synced; before that it has a temporary name in the same directory.',
      'With --peer the state is moved to a device at another vfio-migrate, which answers: this device is stopped only after the other driver took the initial bytes, and runs on when the other end refuses (exit code 10). One of -o and --peer must be given.',
    ],
    args: [{ ...ANY_DEV, usage: '<dev...>' }],
    options: [
      { ...OUTPUT, required: false, oneOf: 'peer' },
      {
        flags: '--peer <cmd>',
        description: 'move to a vfio-migrate load --peer: a shell command, or unix:PATH',
        excludes: ['output', 'move', 'digest'],
      },
      PEER_TIMEOUT,
      FORCE,
      { flags: '--move', description: 'leave the device in STOP: close or reset it, never run it' },
      ...PRECOPY,
      ...DOWNTIME,
      { flags: '--digest <name>', description: "record a digest of the driver's bytes", choices: ['sha256'] },
      TRACE,
      { flags: '--no-origin', description: 'leave out of the description where its facts come from (paths)' },
      NO_P2P,
      SIDECAR,
      ...OPENING,
      RESET_IF_ERROR,
      ...OWNER,
      ...FREEZE,
    ],
    examples: [
      { command: 'vfio-migrate save 0000:65:00.2 -o nic.vfmig', says: 'to a file' },
      {
        command:
          "vfio-migrate save pid:4711 -o nic.vfmig --pause-cmd './vmm pause' --resume-cmd './vmm resume'",
        says: 'of a running program',
      },
      {
        command: 'vfio-migrate save pid:4711 -o nic.vfmig --qmp /run/vm1.qmp',
        says: 'the same of a QEMU, which is asked itself',
      },
      {
        command: 'vfio-migrate save pid:4711 -o nic.vfmig --freeze --freeze-max 500ms',
        says: 'of a program that cannot be asked: it is stopped for at most half a second',
      },
      { command: 'vfio-migrate save 0000:65:00.2 0000:65:00.3 -o guest.vfmig', says: 'two devices as one' },
      { command: 'vfio-migrate save 0000:65:00.2 -o - | zstd > nic.vfmig.zst', says: 'through a pipe' },
      {
        command: 'vfio-migrate save 0000:65:00.2 -o nic.vfmig --trace nic.json',
        says: 'and a picture of what took how long (docs/trace.md)',
      },
      {
        command:
          "vfio-migrate save 65:00.2 --peer 'ssh other vfio-migrate load --peer - 65:00.3' --downtime-limit 300",
        says: 'to a device elsewhere that may refuse it while this one runs (docs/live.md)',
      },
    ],
    makes: 'output',
    answers: false,
    load: () => import('./commands/save.ts'),
  },
  {
    name: 'load',
    summary: 'load a saved state into a device',
    description: [
      "Writes the driver's bytes to the device and asks for STOP, which is the driver's verdict on them. A file is verified as a whole before the device is opened; from a pipe each frame is verified before its bytes reach the device, and the end marker before the device leaves RESUMING.",
      'A file with the states of several devices is loaded into as many, in the order of the file, or as STREAM=DEV says: STREAM is a number, or the address that the device had on the source. Nothing is opened before each pair was compared; if one device fails, all are reset.',
      'If a write fails the device is reset. A vfio-pci device is reset when this command closes it: the loaded state ends with the command, unless somebody keeps the device: --exec, --hand-over, --hold. Without one of these --then running is refused for such a device.',
      'The configuration space and the interrupts of a PCI device are not in its migration data. They stand beside it in the file; --restore-config writes back what it names, and the rest is for the program that uses the device. Without that it is not ready for a guest (docs/owners.md).',
    ],
    args: [
      {
        usage: '<dev...>',
        description: `${ANY_DEV.description}; STREAM=DEV where the order is not that of the file`,
      },
    ],
    options: [
      { flags: '-i, --input <file>', description: 'state file, or - for standard input', oneOf: 'peer' },
      {
        flags: '--peer <where>',
        description: 'take it from a vfio-migrate save --peer: - for standard input and output, or unix:PATH',
        excludes: 'input',
      },
      PEER_TIMEOUT,
      RECORD_LATENCY,
      TRACE,
      { ...FORCE, description: 'replace the trace if it exists' },
      {
        flags: '--then <state>',
        description: 'state to leave the device in; default: stop',
        choices: ['stop', 'running'],
      },
      {
        flags: '--restore-config <list>',
        description:
          'write back of the configuration space: bars, interrupt-line, msi, command, all, or bytes (0x44+4)',
      },
      {
        flags: '--exec <cmd...>',
        description:
          'run this command with the device; {fd} and {config} in it are replaced, with several {fd:0}, {fd:1} …; comes last',
        rest: true,
        excludes: ['handOver', 'hold'],
      },
      {
        flags: '--hand-over <unix:path>',
        description: 'pass the device to the program that listens on this socket',
        excludes: 'hold',
      },
      { flags: '--hold', description: 'keep the device open until a signal, or until it is unbound' },
      NO_P2P,
      OVERRIDE,
      SIDECAR,
      ...OPENING,
      RESET_IF_ERROR,
      ...OWNER,
    ],
    examples: [
      {
        command: "vfio-migrate load -i nic.vfmig 0000:65:00.3 --exec my-vmm --vfio-fd '{fd}'",
        says: 'and start the program that uses it',
      },
      { command: 'vfio-migrate load -i nic.vfmig 0000:65:00.3', says: 'from a file' },
      {
        command:
          "vfio-migrate load -i nic.vfmig 65:00.3 --restore-config bars,command --exec my-vmm '{fd}' '{config}'",
        says: 'with registers written back, and the configuration space for the program',
      },
      {
        command: 'vfio-migrate load -i nic.vfmig 0000:65:00.3 --trace load.json',
        says: 'and a picture of what took how long',
      },
      {
        command: 'vfio-migrate load -i guest.vfmig 1=0000:66:00.2 0=0000:66:00.3',
        says: 'two devices, the other way round',
      },
      {
        command: 'ssh other vfio-migrate save 65:00.2 -o - | vfio-migrate load -i - 65:00.2',
        says: 'from another host',
      },
    ],
    answers: false,
    load: () => import('./commands/load.ts'),
  },
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
  {
    name: 'conformance',
    summary: 'test a driver against the uAPI, point by point',
    description: [
      "Asks an idle device for everything that the uAPI defines, and compares each answer with what the kernel's header says: all pairs of states, data fds, reads and writes in pieces, precopy info, features, dirty tracking, resets. It destroys the state of the device, which --erase-state must name in full, and leaves it reset. Every check has an id and cites its rule (docs/conformance.md). Deviations that are known of a driver are listed with their reason.",
      'Requests that stop some drivers until a reset, and loads that are left incomplete on purpose, are sent with --destructive only. The kernel log and the taint mask are read around each check: a warning, a crash, a bus error or an IOMMU fault fails it.',
      'Exit code 0 when all checks pass or deviate as known, 10 when one fails, 11 when the run ended early. What was skipped is listed with the reason; it has not passed.',
    ],
    args: [DEV],
    options: [
      {
        flags: '--erase-state <addr>',
        description: 'the device again, in full: its state is destroyed',
        required: true,
      },
      { flags: '--destructive', description: 'also what stops some drivers until a reset' },
      {
        flags: '--only <id>',
        description: 'only this check, or those that begin so (state.*)',
        repeats: true,
      },
      {
        flags: '--format <name>',
        description: 'form of the report; default: text',
        choices: ['text', 'tap', 'ktap', 'junit', 'json'],
      },
      {
        flags: '-o, --output <file>',
        description: 'file for the report; the summary goes to standard output',
      },
      FORCE,
      { flags: '--no-kmsg', description: 'go on although the kernel log cannot be read' },
      {
        flags: '--shared-pf-ok',
        description: 'although other functions of its physical function are in use',
      },
      { flags: '--timeout <s>', description: 'how long one request may take; default: 60' },
      ...OPENING,
    ],
    examples: [
      {
        command: 'vfio-migrate conformance 0000:65:00.2 --erase-state 0000:65:00.2',
        says: 'what is safe with every driver',
      },
      {
        command:
          'vfio-migrate conformance 65:00.2 --erase-state 0000:65:00.2 --destructive --format junit -o report.xml',
        says: 'everything, for a build server',
      },
    ],
    answers: true,
    load: () => import('./commands/conformance.ts'),
  },
  {
    name: 'smoke',
    summary: 'test whole saves and loads of a device, over and over',
    description: [
      'Saves and loads an idle device in every way that a host does, and looks whether it is the same afterwards: with pre-copy and without, again and again, cancelled in each phase, from files that are not whole, after its process was killed; with a second device (dst) from one into the other and back, and both at once. It destroys the state of the devices, which --erase-state must name in full, and leaves them reset.',
      'A device that was just reset has hardly any state. --setup CMD gives it work, and --check CMD shows after each load that it does it; both are run by /bin/sh -c with the device as descriptor 3, then iommufd, container and group as they are open ({fd}, {iommufd}, {container}, {group} in the command are their numbers), and end with 0 when all is well. Without them the verdict is at most "pass (idle device)".',
      'With --destructive damaged bytes reach the driver, and what stops some drivers until a reset is asked; a pass is then: no complaint of the kernel, a reset recovers, the next load works. The kernel log and the taint mask are read around each check. docs/smoke.md lists the checks, and what a profile and a corpus are.',
      'Exit code 0 when nothing failed, 10 when a check failed, 11 when the run ended early. What was skipped is listed with the reason; it has not passed.',
    ],
    args: [DEV, { usage: '[dst]', description: 'a second device of the same kind' }],
    options: [
      {
        flags: '--erase-state <addr>',
        description: 'the device again, in full, and once more for dst: their states are destroyed',
        required: true,
        repeats: true,
      },
      { flags: '--setup <cmd>', description: 'shell command that gives the device work before a save' },
      { flags: '--check <cmd>', description: 'shell command that finds after a load whether it does it' },
      { flags: '--repeat <n>', description: 'rounds of what is repeated; default: 10' },
      { flags: '--destructive', description: 'also damaged bytes, and what stops some drivers' },
      { flags: '--profile <file>', description: 'limits for times, rates and sizes (JSON)' },
      { flags: '--corpus <dir>', description: 'also load the state files there that its driver has saved' },
      { flags: '--record', description: 'add the outcomes and a state of this device to the corpus' },
      {
        flags: '--firmware <text>',
        description: 'what the corpus says of the firmware, which no driver tells',
      },
      {
        flags: '--only <id>',
        description: 'only this check, or those that begin so (trip.*)',
        repeats: true,
      },
      {
        flags: '--format <name>',
        description: 'form of the report; default: text',
        choices: ['text', 'tap', 'ktap', 'junit', 'json'],
      },
      {
        flags: '-o, --output <file>',
        description: 'file for the report; the summary goes to standard output',
      },
      FORCE,
      { flags: '--workdir <dir>', description: 'where states are kept meanwhile; default: $TMPDIR' },
      { flags: '--no-kmsg', description: 'go on although the kernel log cannot be read' },
      {
        flags: '--shared-pf-ok',
        description: 'although other functions of its physical function are in use',
      },
      {
        flags: '--timeout <s>',
        description: 'how long one save, load, reset or command may take; default: 600',
      },
      ...OPENING,
    ],
    examples: [
      {
        command: 'vfio-migrate smoke 0000:65:00.2 --erase-state 0000:65:00.2',
        says: 'an idle device',
      },
      {
        command:
          "vfio-migrate smoke 0000:65:00.2 0000:65:00.3 --erase-state 0000:65:00.2 \\\n      --erase-state 0000:65:00.3 --setup 'nic-load {fd}' --check 'nic-check {fd}' \\\n      --profile cx7.json --format junit -o smoke.xml",
        says: 'from one function into another, with work, for a build server',
      },
    ],
    answers: true,
    load: () => import('./commands/smoke.ts'),
  },
  {
    name: 'report',
    summary: 'make an HTML page of a run, or of what two have changed',
    description: [
      'Makes one HTML file from a JSON document that conformance or smoke has written (--format json): verdict, what was tested with what, every check with its rule, what was found and what the kernel said, and a timeline of every request and transfer, drawn to scale. It has no outside parts: it opens from a disk, from a mail, from an archive.',
      'With a second document of the same suite both runs stand side by side, on one scale, and the page says first what changed: checks with another outcome, and times that are twice as long or half.',
    ],
    args: [
      { usage: '<a>', description: 'JSON document of a run' },
      { usage: '[b]', description: 'one of a later run, to compare' },
    ],
    options: [{ ...OUTPUT, description: 'HTML file to make, or - for standard output' }, FORCE],
    examples: [
      { command: 'vfio-migrate report run.json -o run.html', says: 'one run' },
      {
        command: 'vfio-migrate report 6.17.json 6.18.json -o kernels.html',
        says: 'what a newer kernel does otherwise',
      },
    ],
    makes: 'output',
    answers: false,
    load: () => import('./commands/report.ts'),
  },
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
