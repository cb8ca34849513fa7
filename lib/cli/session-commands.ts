/** Rows of the table of commands (commands.ts): saving and loading. */
import {
  ANY_DEV,
  type CommandSpec,
  FORCE,
  OPENING,
  type OptionSpec,
  OUTPUT,
  RESET_IF_ERROR,
  SIDECAR,
  YES_DISCARD,
} from './command-spec.ts';
import { OVERRIDE } from './compat-commands.ts';

const SEVERAL = 'Several devices become one file, with a stream for each';
const NO_P2P: OptionSpec = {
  flags: '--no-p2p-between',
  description: 'several devices: none of them writes to another, so that they may lack P2P states',
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

export const SESSION_COMMANDS: readonly CommandSpec[] = [
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
];
