/** Rungs that only the device can answer: by debugfs, or when it was opened. */
import { cannotTell, type Finding, notOk, ok, type Rung, type WithDevice } from './types.ts';

function waysToKnow({ device }: WithDevice): readonly string[] {
  const resets = device.resetsOnOpen === false ? '' : '    # opening resets it';
  return [
    'As root, with debugfs mounted and a kernel of 6.8 and newer that has CONFIG_VFIO_DEBUGFS, it shows without opening.',
    `vfio-migrate doctor --open ${device.address}${resets}`,
  ];
}

async function opening({ answers, refused }: WithDevice): Promise<Finding> {
  if (answers !== null) return ok(`open by its ${answers.via}`);
  if (refused === null) return cannotTell('not tried');
  return notOk(refused.message, refused.facts.remedy === undefined ? [] : [refused.facts.remedy]);
}

async function migration(patient: WithDevice): Promise<Finding> {
  const { device, answers } = patient;
  if (answers !== null) {
    return answers.migration === null
      ? notOk('its driver has no migration support for this device', [
          'See the kernel log (`dmesg`): firmware or device may be too old for the driver.',
        ])
      : ok(`its driver migrates it: ${answers.migration.capabilities.join(', ')}`);
  }
  if (device.debugFeatures !== null) return ok(`its driver migrates it: ${device.debugFeatures.join(', ')}`);
  if (device.debugState !== null) return ok('its driver migrates it: debugfs shows its state');
  if (!device.vfio) return cannotTell('not before it is bound to a vfio driver');
  return cannotTell('only the device knows whether its driver can migrate it', waysToKnow(patient));
}

/** States in which a device may be found and a new session may start. */
const READY = new Set(['RUNNING', 'RUNNING_P2P', 'STOP']);

async function state({ device, answers }: WithDevice): Promise<Finding> {
  const found = answers?.migration?.state ?? device.debugState;
  if (found === null || found === undefined) return cannotTell('not known without opening it');
  if (READY.has(found)) return ok(found);
  const what = found === 'ERROR' ? 'only a reset leads out' : 'a session is live, or was left behind';
  return notOk(`${found}: ${what}`, [
    ...(found === 'ERROR' ? [] : ['Wait for the session to end, if there is one.']),
    `vfio-migrate reset ${device.address}    # erases what it holds`,
  ]);
}

async function features({ device, answers }: WithDevice): Promise<Finding> {
  const known = answers?.migration;
  if (known == null) {
    return device.debugFeatures === null
      ? cannotTell('not known without opening it')
      : ok(`${device.debugFeatures.join(', ')}; others only an open device tells`);
  }
  const { capabilities, dataSize, precopyInfoV2, dirtyTracking } = known;
  const all: readonly (readonly [there: boolean, what: string])[] = [
    [capabilities.includes('P2P'), 'P2P'],
    [capabilities.includes('PRE_COPY'), 'PRE_COPY'],
    [dataSize !== null, 'MIG_DATA_SIZE'],
    [precopyInfoV2, 'MIG_PRECOPY_INFOv2'],
    [dirtyTracking, 'dirty tracking'],
  ];
  const names = (there: boolean) => all.filter(([is]) => is === there).map(([, what]) => what);
  const without = names(false);
  return ok(
    `${names(true).join(', ') || 'none'}${without.length === 0 ? '' : `; without ${without.join(', ')}`}`,
  );
}

export const ASKED_RUNGS: readonly Rung<WithDevice>[] = [
  { name: 'opening', title: 'opening', essential: false, look: opening },
  { name: 'migration', title: 'migration', essential: true, look: migration },
  { name: 'state', title: 'device state', essential: false, look: state },
  { name: 'features', title: 'optional features', essential: false, look: features },
];
