/** What an error of a session with several devices says: which one failed, and where all of them are now. */
import type { OpenDevice } from '../device/types.ts';
import { type DeviceOutcome, type ErrorFacts, stateName, VfioMigrateError } from '../protocol/index.ts';
import { type Aftermath, stateOrNull } from './transition.ts';

export class GroupOutcome {
  readonly #devices: readonly OpenDevice[];

  constructor(devices: readonly OpenDevice[]) {
    this.#devices = devices;
  }

  /** A note, with the device that it is about where there are several. */
  about(device: OpenDevice, note: string): string {
    return this.#devices.length === 1 ? note : `${device.facts.address}: ${note}`;
  }

  /** Where the devices are, when nothing has to be done about it. */
  standing(recovery: string): Promise<Partial<Aftermath>[]> {
    return Promise.all(
      this.#devices.map(async (device) => {
        const state = await stateOrNull(device);
        return { stateAfter: state === null ? 'unknown' : stateName(state), recovery };
      }),
    );
  }

  /** `error` of device number `index`, with what became of it and of the others. What is no VfioMigrateError comes back as it is. */
  error(error: unknown, index: number, after: readonly Partial<Aftermath>[]): unknown {
    if (!(error instanceof VfioMigrateError)) return error;
    const own = after[index]!;
    const remedy = remedyOf(error) ?? own.remedy;
    const facts: ErrorFacts = {
      ...error.facts,
      device: this.#devices[index]!.facts.address,
      ...own,
      ...(remedy === undefined ? {} : { remedy }),
      ...this.#all(after),
      cause: error,
    };
    return new VfioMigrateError(error.code, error.message, facts);
  }

  /** The same for devices of which some were not brought back. */
  others(lost: readonly (VfioMigrateError | null)[]): Pick<ErrorFacts, 'devices'> {
    return this.#all(
      lost.map((error) =>
        error === null ? { recovery: 'the device was let go' } : { ...error.facts, recovery: error.message },
      ),
    );
  }

  #all(after: readonly Partial<Aftermath>[]): Pick<ErrorFacts, 'devices'> {
    if (this.#devices.length === 1) return {};
    return {
      devices: this.#devices.map(
        ({ facts }, i): DeviceOutcome => ({
          device: facts.address,
          ...(after[i]?.stateAfter === undefined ? {} : { stateAfter: after[i].stateAfter }),
          ...(after[i]?.recovery === undefined ? {} : { recovery: after[i].recovery }),
        }),
      ),
    };
  }
}

/** A request that failed has a remedy of its own where it is the driver's verdict; else what recovery left decides. */
function remedyOf({ code, facts }: VfioMigrateError): string | undefined {
  return facts.recovery === UNTRIED && !VERDICTS.has(code) ? undefined : facts.remedy;
}

/** What `transition` says when it was told not to recover. */
const UNTRIED = 'nothing was tried';

/** A driver's answer to the state itself: what to do about that is known whatever recovery left. */
const VERDICTS: ReadonlySet<string> = new Set(['state-rejected', 'state-too-large']);
