/** Rows of the table of commands (commands.ts): suites of checks, and the page of a run. */
import { type CommandSpec, DEV, FORCE, OPENING, type OptionSpec, OUTPUT } from './command-spec.ts';

/** What comes out of a suite, and where. */
const REPORT: readonly OptionSpec[] = [
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
];
/** What a suite insists on, unless it is told otherwise. */
const CARE: readonly OptionSpec[] = [
  { flags: '--no-kmsg', description: 'go on although the kernel log cannot be read' },
  {
    flags: '--shared-pf-ok',
    description: 'although other functions of its physical function are in use',
  },
];

export const SUITE_COMMANDS: readonly CommandSpec[] = [
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
      ...REPORT,
      ...CARE,
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
      ...REPORT,
      { flags: '--workdir <dir>', description: 'where states are kept meanwhile; default: $TMPDIR' },
      ...CARE,
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
];
