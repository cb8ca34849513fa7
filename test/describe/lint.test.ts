/** Lint of descriptions, and their conversion between JSON and one value per file. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MetadataError } from '../../lib/compat/errors.ts';
import { normalInfo } from '../../lib/compat/index.ts';
import { lint, lintPair, readMetadata, toInfo, toTree, writeFiles } from '../../lib/describe/index.ts';
import type { JsonObject } from '../../lib/text/json.ts';
import { scratch } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.remove());

let files = 0;
/** Writes a document; gives what is read back. */
function metadata(document: unknown) {
  const path = dir.file(`${files++}.json`);
  writeFileSync(path, typeof document === 'string' ? document : JSON.stringify(document));
  return readMetadata(path);
}

const MODEL = 'infra.test/nic';
const info = (members: object, more: object = {}) => ({
  schema: 'vfio-migrate/info/1',
  ...more,
  models: { [MODEL]: members },
});
const int = (more: object = {}) => ({ type: 'int', init_value: 1, ...more });
const found = (issues: readonly { code: string; pointer: string }[]) =>
  issues.map(({ code, pointer }) => `${code} ${pointer}`);

describe('one file', () => {
  const P = `/models/infra.test~1nic`;
  // biome-ignore format: a table
  it.each<[string, object, string[]]>([
    ['two faults in two parameters, both', { params: { a: int({ init_value: '010' }), b: { type: 'what', init_value: 1 } } }, [`E_VALUE_SYNTAX ${P}/params/a/init_value`, `E_TYPE_UNKNOWN ${P}/params/b/type`]],
    ['off value null', { params: { a: int({ off_value: null }) } }, [`E_VALUE_TYPE ${P}/params/a/off_value`]],
    ['off value that is not listed', { params: { a: int({ off_value: 0, allowed_values: [1] }) } }, [`W_OFF_NOT_LISTED ${P}/params/a`]],
    ['run time and seen by the guest', { params: { a: int({ change: 'runtime', scope: 'hardware-interface' }) } }, [`W_RUNTIME_HW ${P}/params/a`]],
    ['a member that is not known', { params: { a: int({ colour: 'red' }) }, weight: 3 }, [`W_MEMBER_UNKNOWN ${P}/params/a`, `W_MEMBER_UNKNOWN ${P}`]],
    ['a cycle of versions', { params: {}, versions: { a: { base: 'b' }, b: { base: 'a' } } }, [`E_VERSION_CYCLE ${P}/versions/a`, `E_VERSION_CYCLE ${P}/versions/b`]],
    ['a version of a parameter that is not there', { params: {}, versions: { a: { params: { x: 1 } } } }, [`E_PARAM_UNKNOWN ${P}/versions/a`]],
    ['an order that leaves one out', { params: {}, versions: { a: {}, b: {} }, version_order: ['a'] }, [`E_VERSION_NOT_LISTED ${P}/versions/b`]],
    ['a parameter called version beside a table', { params: { version: int() }, versions: { a: {} } }, [`E_PARAM_NAME_RESERVED ${P}/params/version`]],
    ['written after itself', { params: { a: int({ after: ['b'] }), b: int({ after: ['a', 'c'] }) } }, [`W_AFTER_CYCLE ${P}/params/a/after`, `W_AFTER_CYCLE ${P}/params/b/after`, `W_AFTER_UNKNOWN ${P}/params/b/after`]],
    ['what decides is not required', { params: { a: int({ allowed_values: [{ pow2: [1, 8] }] }) }, state_version: '1.0' }, [`W_REQUIRES_MISSING ${P}`, `W_REQUIRES_MISSING ${P}`]],
    ['patterns', { params: {}, compatible: [{ version: 'v2+' }, { version: 'v1, v2' }, { pciid: '8086*' }] }, [`W_LOOKS_LIKE_PATTERN ${P}/compatible/0/version`, `W_LOOKS_LIKE_PATTERN ${P}/compatible/2/pciid`]],
    ['an enumeration', { params: {}, compatible: Array.from({ length: 65 }, (_, n) => ({ driver: 'x', n: String(n) })) }, [`W_SELF_ENUMERATION ${P}/compatible`]],
    ['nothing wrong', { params: { a: int({ off_value: 0 }) } }, []],
  ])('%s', async (_what, members, expected) => {
    expect(found(lint(await metadata(info(members))))).toEqual(expected);
  });

  it('advice is given to those who ask', async () => {
    const document = info({ params: { 'link-speed': int(), 'fw-struct-v3': int() } });
    expect(lint(await metadata(document))).toEqual([]);
    expect(lint(await metadata(document), true).map(({ code }) => code)).toEqual([
      'advice-external',
      'advice-implementation-name',
    ]);
  });

  it('a model below a domain for examples', async () => {
    expect(
      lint(await metadata({ models: { 'vendor.example.com/nic': { params: {} } } })).map(({ code }) => code),
    ).toEqual(['W_MODEL_DOMAIN_EXAMPLE']);
  });

  it('sidecar files: every entry, and a writer for which 0 means something else', async () => {
    const models = { [MODEL]: { params: { n: int({ allowed_values: ['0-8'] }) } } };
    const write = { n: { kind: 'sysfs', path: 'sriov_vf_msix_count' } };
    const devices = [
      { match: { bdf: '0000:70:00.1' }, model: MODEL, write, colour: 1 },
      { match: { bdf: 'x' }, model: MODEL },
      { match: { pci_id: '15b3:101e' }, model: 'https://a.com/b' },
    ];
    const issues = lint(
      await metadata({ $schema: 'x', schema: 'vfio-migrate/sidecar/1', models, devices }),
      true,
    );
    expect(found(issues)).toEqual([
      'E_VALUE_SYNTAX /devices/1/match/bdf',
      'E_MODEL_SCHEME /devices/2/model',
      'W_MSIX_ZERO /devices/0/write/n',
      'W_MEMBER_UNKNOWN ',
      'W_MEMBER_UNKNOWN /devices/0',
      'W_LOCAL_MATCH /devices/0/match',
      'W_UNBOUNDED /devices/0/match',
      'W_LOCAL_MATCH /devices/1/match',
      'W_UNBOUNDED /devices/1/match',
      'W_UNBOUNDED /devices/2/match',
    ]);
  });

  // biome-ignore format: a table
  it.each<[string, string, string]>([
    ['no JSON', '{"models":', 'E_JSON'],
    ['duplicate keys', '{"models":{},"models":{}}', 'E_JSON_DUPLICATE'],
    ['a list', '[]', 'E_VALUE_TYPE'],
    ['nested too deeply', `${'['.repeat(40)}${']'.repeat(40)}`, 'E_JSON'],
    ['another format', '{"schema":"vfio-migrate/report/1"}', 'E_REQUIRES_UNKNOWN'],
    ['a requirement that is not known', '{"requires":["magic"],"models":{"a.com/b":{}}}', 'E_REQUIRES_UNKNOWN'],
    ['a byte order mark', '\ufeff{"models":{}}', 'E_JSON'],
    ['more than a mebibyte', `"${'x'.repeat(1 << 20)}"`, 'E_JSON'],
  ])('a file that cannot be used: %s', async (_what, text, code) => {
    const error = await metadata(text).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MetadataError);
    expect(error).toMatchObject({ code, place: { file: expect.stringMatching(/\.json$/) } });
  });
});

describe('two versions', () => {
  const pair = async (older: object, newer: object) =>
    lintPair(await metadata(info(older)), await metadata(info(newer))).map(({ code }) => code);

  // biome-ignore format: a table
  it.each<[string, object, object, string[]]>([
    ['a new parameter that can be off', {}, { params: { n: int({ off_value: 0 }) } }, []],
    ['a new parameter that cannot', {}, { params: { n: int() } }, ['new-parameter-without-off-value']],
    ['one that is gone', { params: { n: int() } }, {}, ['parameter-removed']],
    ['another type', { params: { n: int() } }, { params: { n: { type: 'str', init_value: '1' } } }, ['type-changed']],
    ['another off value', { params: { n: int({ off_value: 0 }) } }, { params: { n: int({ off_value: 1 }) } }, ['off-value-changed']],
    ['a value less', { params: { n: int({ allowed_values: [1, 2] }) } }, { params: { n: int({ allowed_values: [1] }) } }, ['values-narrowed']],
    ['the same in other words', { params: { n: int({ allowed_values: [1, 2] }) } }, { params: { n: int({ init_value: '0x1', allowed_values: ['1-2'] }) } }, []],
    ['a minor version more', { state_version: '2.0.0' }, { state_version: '2.1.0' }, []],
    ['accepts less in the same major', { state_version: '2.1.0' }, { state_version: '2.2.0', accepts_state_versions: '2.2.0-' }, ['narrowed-without-major-bump']],
    ['rejects one', { state_version: '2.1.0' }, { state_version: '2.1.0', rejects_state_versions: '2.0.3' }, ['narrowed-without-major-bump']],
    ['accepts less in a new major', { state_version: '2.1.0' }, { state_version: '3.0.0', accepts_state_versions: '3.0.0-' }, []],
    ['a version that means something else', { params: { n: int({ off_value: 0 }) }, versions: { a: { params: { n: 1 } } } }, { params: { n: int({ off_value: 0 }) }, versions: { a: { params: { n: 2 } } } }, ['version-expansion-conflict']],
    ['a version written the other way round', { params: { n: int({ off_value: 0 }) }, versions: { a: {} } }, { params: { n: int({ off_value: 0 }) }, versions: { a: { base: 'b', params: { n: 0 } }, b: { params: { n: 3 } } } }, []],
  ])('%s', async (_what, older, newer, expected) => {
    expect(await pair({ params: {}, ...older }, { params: {}, ...newer })).toEqual(expected);
  });

  it('a model that is gone', async () => {
    const other = await metadata({ models: { 'infra.test/other': { params: {} } } });
    expect(lintPair(await metadata(info({ params: {} })), other).map(({ code }) => code)).toEqual([
      'model-removed',
    ]);
  });
});

describe('conversion (AC-SYSFS-1, P-f)', () => {
  const NIC = {
    device_api: 'vfio-pci',
    params: {
      'new-feature': {
        type: 'bool',
        init_value: true,
        off_value: false,
        description: 'New "feature"',
        change: 'closed',
        scope: 'both',
        after: ['num-queues'],
        dynamic: true,
      },
      'num-queues': {
        type: 'int',
        init_value: 4,
        allowed_values: ['1-8', { pow2: [16, 64] }, { min: 100, max: 200, step: 10 }],
      },
      big: { type: 'int', init_value: '18446744073709551615', allowed_values: ['0-18446744073709551615'] },
      größe: { type: 'str', init_value: 'a b', off_value: '' },
      format: { type: 'enum', init_value: 'v2', off_value: 'v1', allowed_values: ['v1', 'v2'] },
    },
    constraints: [
      // biome-ignore lint/suspicious/noThenProperty: the member of §4.1 has this name
      { if: { 'new-feature': [true] }, then: { 'num-queues': ['3-8'] }, reason: 'control queue' },
    ],
    state_version: '2.1.3',
    accepts_state_versions: '2.0.2-2.0.4,2.1.0-',
    rejects_state_versions: '2.1.1',
    versions: {
      1: { params: { 'num-queues': 4 } },
      2: { base: '1', params: { 'new-feature': true }, description: 'x' },
    },
    version_order: ['1', '2'],
    default_version: '2',
    external: { 'link-speed': { treatment: 'hide', allowed: ['hide', 'reload'] } },
    errata: [
      {
        id: 'e-1',
        affects: { kernel: '6.8-6.9' },
        side: 'source',
        when: { 'new-feature': [true] },
        action: 'refuse',
        text: 'x',
      },
    ],
  };

  it.each<[string, object]>([
    ['everything', info(NIC, { requires: ['constraints', 'errata'] })],
    [
      'RFC v3',
      {
        models: {
          [MODEL]: {
            params: { n: { type: 'int', init_value: 1, allowed_values: [1, 5, 7], description: 'd' } },
          },
        },
      },
    ],
    ['RFC v4', { models: { [MODEL]: { versions: ['4GB-v1', '4GB-v10'] } } }],
    ['names that look like numbers', info({ params: { 2: int(), 10: int() } })],
  ])('JSON to tree to JSON is the normal form: %s', async (_what, document) => {
    const json = await metadata(document);
    const { result, dropped } = toTree(json);
    expect(dropped).toEqual([]);
    await writeFiles(result, dir.file('tree'));
    const back = toInfo(await readMetadata(dir.file('tree'))).result;
    expect(violations('migration-info', JSON.parse(JSON.stringify(back)))).toEqual([]);
    const members = Object.values((document as { models: Record<string, JsonObject> }).models)[0]!;
    expect((back.models as JsonObject)[MODEL]).toEqual(normalInfo(members));
    expect(back.requires).toEqual((document as { requires?: string[] }).requires);
    expect(toTree(await readMetadata(dir.file('tree'))).result).toEqual(result);
  });

  it('a descriptor keeps its values, and says what has no place', async () => {
    const members = { ...NIC, schema: 'vfio-migrate/descriptor/1', ref: { kind: 'mdev' }, model: MODEL };
    const params = { ...NIC.params, 'num-queues': { ...NIC.params['num-queues'], value: '0x4' } };
    const { result, dropped } = toTree(await metadata({ ...members, params }));
    expect(result.get('migration/params/num-queues/value')).toBe('4\n');
    expect(dropped).toEqual(['ref']);
  });

  // biome-ignore format: a table
  it.each<[string, object, string]>([
    ['a blank in an allowed value', { params: { a: { type: 'str', init_value: 'a b', allowed_values: ['a b'] } } }, 'E_NOT_REPRESENTABLE'],
    ['two lines', { params: { a: int({ description: 'one\ntwo' }) } }, 'E_NOT_REPRESENTABLE'],
    ['a version that is a path', { params: {}, versions: { '../../x': { params: {}, description: 'y' } } }, 'E_NOT_REPRESENTABLE'],
    ['a version that is a dot', { params: {}, versions: { '..': { description: 'y' } } }, 'E_NOT_REPRESENTABLE'],
    ['a bad definition', { params: { a: {} } }, 'E_TYPE_MISSING'],
  ])('is refused: %s', async (_what, members, code) => {
    const json = await metadata(info(members));
    expect(() => toTree(json)).toThrow(expect.objectContaining({ code }));
  });

  it('one of several models has to be named', async () => {
    const two = await metadata({ models: { 'a.com/b': { params: {} }, 'a.com/c': { params: {} } } });
    expect(() => toTree(two)).toThrow(/a\.com\/b.*a\.com\/c/);
    expect(toTree(two, 'a.com/c').result.get('migration/model')).toBe('a.com/c\n');
  });

  it('writes nothing over something, and leaves nothing behind', async () => {
    const { result } = toTree(await metadata(info({ params: {} })));
    mkdirSync(dir.file('there'));
    writeFileSync(dir.file('there/keep'), 'x');
    await expect(writeFiles(result, dir.file('there'))).rejects.toMatchObject({ code: 'file-exists' });
    expect(readFileSync(dir.file('there/keep'), 'utf8')).toBe('x');
    await expect(writeFiles(result, dir.file('none/below'))).rejects.toMatchObject({ code: 'output-failed' });
  });

  it('a directory that describes nothing is no description', async () => {
    await expect(readMetadata(dir.path)).rejects.toMatchObject({ code: 'E_LAYOUT_UNKNOWN' });
    await expect(readMetadata(dir.file('none'))).rejects.toMatchObject({ code: 'input-failed' });
  });
});
