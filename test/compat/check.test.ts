/** The check: one test for each acceptance item that is a question about two descriptions. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  changedParams,
  describeSubject,
  parameterList,
  parseDescriptor,
  QuestionError,
  recheckDynamic,
} from '../../lib/compat/index.ts';
import {
  ask,
  asked,
  type Doc,
  feature,
  gist,
  gpu2,
  gpu4,
  gpu8,
  gpuSource,
  implies,
  mtty,
  nic,
} from './fixtures.ts';

const yes = (writes: string[] = [], codes: string[] = []) => ({
  verdict: 'compatible certain',
  codes,
  writes,
});
const perhaps = (codes: string[], writes: string[] = []) => ({
  verdict: 'compatible probable',
  codes,
  writes,
});
const no = (...codes: string[]) => ({ verdict: 'incompatible', codes, writes: null });
const open = (codes: string[], writes: string[] | null = null) => ({ verdict: 'unknown', codes, writes });

describe('R-CHECK', () => {
  test('AC-CHECK-1: an unlisted parameter of the target is written off, though its init is better', () => {
    expect(asked(nic(), nic({}, feature()))).toEqual(yes(['new-feature=off']));
  });

  test('AC-CHECK-2: a parameter in effect that the target does not know refuses; one that is off does not', () => {
    expect(asked(nic({}, feature()), nic())).toEqual(no('param-unsupported:new-feature'));
    expect(asked(nic({}, feature({ value: 'N' })), nic())).toEqual(yes());
  });

  test('AC-CHECK-3: three faults, three findings', () => {
    const source = nic({}, { ...feature(), queues: { type: 'int', init_value: 9 } });
    const target = nic(
      {},
      {
        queues: { type: 'int', init_value: 1, allowed_values: ['1-8'] },
        block: { type: 'int', init_value: 512, allowed_values: [512] },
      },
    );
    expect(asked(source, target)).toEqual(
      no('param-cannot-be-off:block', 'param-unsupported:new-feature', 'value-not-allowed:queues'),
    );
  });

  test('a parameter of a fixed target that has another value', () => {
    const fixed = feature({ change: 'fixed' });
    expect(asked(nic(), nic({}, fixed))).toEqual(no('param-fixed:new-feature'));
    expect(asked(nic(), nic({}, feature({ change: 'fixed', value: '0' })))).toEqual(yes());
  });

  test('a value that nobody could read is unknown, and never init', () => {
    const instance = { ref: { kind: 'pci-vf', bdf: '0000:3b:00.2' } };
    const values = { 'num-resources': { type: 'int', init_value: 64, allowed_values: [64], value: 64 } };
    expect(asked(nic({ ...instance }), nic())).toEqual(open(['source-value-unknown:num-resources'], []));
    // Without an off value on the target a hole in the list must not become a refusal.
    expect(
      asked(nic({ ...instance }, feature()), nic({}, { 'new-feature': { type: 'bool', init_value: true } }))
        .verdict,
    ).toBe('unknown');
    const target = nic(instance, { ...values, ...feature() });
    expect(ask(nic(), target).plan?.writes).toEqual([
      { side: 'target', param: 'new-feature', from: null, to: 'off', change: 'unknown' },
    ]);
    expect(asked(nic(), nic(instance, { ...values, ...feature({ change: 'fixed' }) }))).toEqual(
      open(['target-value-unknown:new-feature'], []),
    );
  });

  test('undescribed attributes: of the source they may be in effect, of the target they may do anything', () => {
    expect(asked(nic({ undescribed: { mystery: '7' } }), nic())).toEqual(no('param-unsupported:mystery'));
    expect(asked(nic(), nic({ undescribed: { mystery: '7' } }))).toEqual(
      open(['target-param-undescribed:mystery'], []),
    );
    const both = nic({ undescribed: { mystery: '7' } });
    expect(asked(both, both)).toEqual(open(['target-param-undescribed:mystery'], []));
    const known = { mystery: { type: 'int', init_value: 0, off_value: 0, allowed_values: ['0-9'] } };
    expect(asked(both, nic({}, known))).toEqual(yes(['mystery=7']));
  });

  test('AC-VALUE-2, AC-VALUE-3: text of a device that is no value of its type', () => {
    const queues = (value?: string): Doc => ({
      queues: {
        type: 'int',
        init_value: 1,
        allowed_values: ['0-99'],
        ...(value === undefined ? {} : { value }),
      },
    });
    expect(asked(nic({}, queues('010')), nic({}, queues()))).toEqual(no('value-not-allowed:queues'));
    const label = (value: string): Doc => ({ label: { type: 'str', init_value: '', value } });
    expect(ask(nic({}, label('x ')), nic({}, label('x'))).plan?.writes).toMatchObject([{ to: 'x ' }]);
    expect(ask(nic({}, label('a\nb')), nic()).findings[0]).toMatchObject({ error: 'E_VALUE_SYNTAX' });
  });

  test('types that differ; str and enum do not', () => {
    const as = (type: string, value: unknown): Doc => ({
      x: { type, init_value: value, allowed_values: [value] },
    });
    expect(asked(nic({}, as('int', 1)), nic({}, as('bool', true)))).toEqual(no('type-mismatch:x'));
    expect(asked(nic({}, as('enum', 'a')), nic({}, as('str', 'a')))).toEqual(yes());
  });

  test('constraints count only when each value is right alone, and one finding names all that are broken', () => {
    const params = {
      ...feature(),
      queues: { type: 'int', init_value: 2, allowed_values: ['1-8'] },
    };
    const constraints = [
      implies({ 'new-feature': true }, { queues: ['3-8'] }, 'control queue'),
      implies({ 'new-feature': [true], nope: [1] }, { queues: [8] }),
      implies({ queues: ['1-2'] }, { 'new-feature': ['off'] }),
    ];
    const result = ask(nic({}, params), nic({ constraints }, params));
    expect(gist(result)).toEqual(no('constraint-violated'));
    expect(result.findings[0]!.message).toMatch(/constraint 0 \(control queue\), constraint 2$/);
    const wrong = { ...params, queues: { ...params.queues, value: 9 } };
    expect(asked(nic({}, wrong), nic({ constraints }, params))).toEqual(no('value-not-allowed:queues'));
  });

  test('64-bit values are exact', () => {
    const size = (value: string): Doc => ({
      size: { type: 'int', init_value: value, allowed_values: ['9007199254740992-18446744073709551615'] },
    });
    const exact = {
      size: { type: 'int', init_value: '9007199254740992', allowed_values: ['9007199254740992'] },
    };
    expect(asked(nic({}, size('9007199254740993')), nic({}, exact))).toEqual(no('value-not-allowed:size'));
    expect(asked(nic({}, size('18446744073709551615')), nic({}, size('9007199254740992')))).toEqual(
      yes(['size=18446744073709551615']),
    );
  });
});

describe('R-MODEL, R-DEVKIND', () => {
  test('AC-MODEL-1: a scheme is refused where it stands, with a suggestion', () => {
    const result = ask(nic(), { model: 'https://qemu.org/devices/e1000e' });
    expect(gist(result)).toEqual(open(['target-metadata-error']));
    expect(result.exit).toBe(11);
    expect(result.findings[0]).toMatchObject({ error: 'E_MODEL_SCHEME' });
    expect(result.findings[0]!.message).toContain('"qemu.org/devices/e1000e"');
    expect(result.findings[0]!.message).toContain('/model');
    expect(ask(nic(), { model: 'a://b' }, { strict: true }).exit).toBe(12);
  });

  test('AC-MODEL-2: nothing else is compared between different models', () => {
    const other = { ...nic({ device_api: 'vfio-ccw' }), model: 'www.vendor-a.com/my-nic' };
    expect(asked(nic({ device_api: 'vfio-pci' }, feature()), other)).toEqual(no('model-mismatch'));
  });

  test('AC-DEVKIND-2: kind, type, address and parent change no byte of verdict, findings and writes', () => {
    const file = new URL('../vectors/vectors.json', import.meta.url);
    const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as {
      vectors: { fn: string; in: { source: Doc; target: Doc } }[];
    };
    const refs = [
      { kind: 'pci-vf', bdf: '0000:3b:00.2' },
      { kind: 'mdev', uuid: 'c0ffee00-0000-0000-0000-000000000001', mdev_type: 'x-1', parent: 'p' },
      { kind: 'mdev-type', mdev_type: 'y-2', parent: 'q' },
      { kind: 'cdev', cdev: 'vfio7' },
    ];
    const valued = (doc: Doc, ref: Doc): Doc => ({
      ...doc,
      ref,
      params: Object.fromEntries(
        Object.entries((doc.params ?? {}) as Record<string, Doc>).map(([name, definition]) => [
          name,
          { ...definition, value: definition.value ?? definition.init_value },
        ]),
      ),
    });
    const checks = vectors.filter(({ fn }) => fn === 'check');
    expect(checks.length).toBeGreaterThan(15);
    for (const { in: pair } of checks) {
      const answers = refs.flatMap((a) =>
        refs.map((b) => {
          const { verdict, findings, plan } = ask(valued(pair.source, a), valued(pair.target, b));
          return JSON.stringify([verdict, findings, plan?.writes]);
        }),
      );
      expect(new Set(answers).size).toBe(1);
    }
  });

  test('equal mdev types only when they are asked for', () => {
    const policy = { requireSameType: true };
    expect(asked(gpuSource, gpu4)).toEqual(yes(['memory=8192']));
    expect(asked(gpuSource, gpu4, policy)).toEqual(no('mdev-type-mismatch'));
    expect(asked(gpuSource, gpu8, policy)).toEqual(yes());
  });

  test('the worked examples: vGPU and mtty', () => {
    expect(asked(gpuSource, gpu2)).toEqual(no('value-not-allowed:memory'));
    expect(asked(gpuSource, gpu8)).toEqual(yes());
    expect(ask(gpuSource, gpu8).plan?.create?.mdevType).toBe('gfx-8GB');
    expect(asked(mtty(2, true), mtty(1, false))).toEqual(no('value-not-allowed:ports'));
    expect(asked(mtty(2, true), mtty(2, false))).toEqual(yes());
  });
});

describe('R-PARAM', () => {
  test('AC-PARAM-1: a bool without off value that lists nothing has only its init value', () => {
    const always = { x: { type: 'bool', init_value: true } };
    expect(asked(nic(), nic({}, always))).toEqual(no('param-cannot-be-off:x'));
    expect(asked(nic({}, { x: { type: 'bool', init_value: false } }), nic({}, always))).toEqual(
      no('value-not-allowed:x'),
    );
  });

  test('AC-CHECK-4: off values that differ: the own one of the target is written, and it is said', () => {
    const mode = (off_value: number, value: number) => ({
      mode: { type: 'int', init_value: 0, off_value, allowed_values: ['0-9'], value },
    });
    expect(asked(nic({}, mode(0, 0)), nic({}, mode(1, 0)))).toEqual(
      yes(['mode=1'], ['off-value-differs:mode']),
    );
  });

  test('AC-PARAM-2: null is not "absent"', () => {
    const result = ask(nic(), nic({}, { x: { type: 'int', init_value: 1, off_value: null } }));
    expect(result).toMatchObject({ verdict: 'unknown', exit: 11 });
    expect(result.findings[0]).toMatchObject({ error: 'E_VALUE_TYPE' });
  });

  test('AC-PARAM-3: a description decides nothing', () => {
    const text = (description: string) =>
      JSON.stringify(ask(nic({}, feature({ description })), nic()).findings);
    expect(text('requires i915-GVTg_V5_8 only!')).toBe(text(''));
  });

  test('unknown members are ignored, and listed', () => {
    const odd = nic({ later: 1 }, feature({ newer: true }));
    const result = ask(nic({}, feature()), odd);
    expect(gist(result)).toEqual(yes([], ['metadata-member-ignored']));
    expect(result.findings[0]!.message).toContain('later, new-feature.newer');
  });

  test('what a document requires must be understood', () => {
    expect(asked(nic({ requires: ['constraints', 'errata'] }), nic())).toEqual(yes());
    const result = ask(nic(), nic({ requires: ['telepathy'] }));
    expect(gist(result)).toEqual(open(['target-metadata-error']));
    expect(result.findings[0]!.error).toBe('E_REQUIRES_UNKNOWN');
    expect(ask(nic({ schema: 'vfio-migrate/descriptor/2' }), nic()).findings[0]!.error).toBe(
      'E_REQUIRES_UNKNOWN',
    );
  });
});

describe('R-SEMVER, R-V4', () => {
  const versioned = (version: string, more: Doc = {}) => nic({ state_version: version, ...more });
  test.each<[string, string, Doc, string[]]>([
    ['2.0.1', '2.1.1', {}, []],
    ['2.1.1', '2.0.1', {}, ['state-version-minor']],
    ['2.0.0', '3.0.0', {}, ['state-version-major']],
    ['2.0.1', '2.0.0', {}, []],
    ['1.0.0', '1.1.0', { accepts_state_versions: '1.1.0' }, ['state-version-not-accepted']],
    [
      '2.0.3',
      '2.0.9',
      { accepts_state_versions: '2.0.0-', rejects_state_versions: '2.0.3' },
      ['state-version-rejected'],
    ],
  ])('AC-SEMVER: %s to %s %o', (from, to, more, codes) => {
    expect(gist(ask(versioned(from), versioned(to, more))).codes).toEqual(codes);
  });

  test('a version on one side only is unknown', () => {
    expect(asked(versioned('1.0.0'), nic())).toEqual(open(['state-version-missing'], []));
    expect(asked(nic(), versioned('1.0.0'))).toEqual(open(['state-version-missing'], []));
  });

  test('AC-V4-1: version strings have no order; the right model needs one write', () => {
    const side = (version: string | undefined, versions?: string[]): Doc => ({
      model: 'org.project/graphics-card',
      ...(version === undefined ? {} : { version }),
      ...(versions === undefined ? {} : { versions }),
    });
    expect(asked(side('4GB-v1'), side('x', ['4GB-v10']))).toEqual(no('version-unsupported'));
    expect(asked(side(undefined, ['1']), side('1', ['1']))).toEqual(open(['source-version-unknown'], []));
    expect(asked(side('1', ['1']), side('1'))).toEqual(open(['target-versions-unknown'], []));
    const { plan, verdict } = ask(side('1'), side('2', ['1', '2']));
    expect(verdict).toBe('compatible');
    expect(plan?.version).toEqual({ model: 'org.project/graphics-card', from: '2', to: '1' });
    expect(ask(side('1'), side('1', ['1', '2'])).plan?.version).toBeNull();
  });
});

describe('older mechanisms', () => {
  const old = {
    self: { driver: 'd', v: 'v2' },
    compatible: [
      { driver: 'd', v: 'v1' },
      { driver: 'd', v: 'v2' },
    ],
  };
  const fresh = { self: { driver: 'd', v: 'v3' }, compatible: [{ driver: 'd', v: 'v1,v2,v3' }] };

  test('AC-SELF-3: an old driver cannot list a new one; --self-policy target asks only the target', () => {
    const result = ask(old, fresh);
    expect(gist(result)).toEqual(no('self-not-in-source-list'));
    expect(result.findings[0]!.fix).toContain('--self-policy target');
    expect(asked(old, fresh, { selfPolicy: 'target' })).toEqual(yes([], ['self-not-in-source-list']));
  });

  test('a list that is not published is unknown; an empty one takes nothing', () => {
    expect(asked({ self: old.self }, { self: old.self })).toEqual(
      open(['self-not-in-source-list', 'self-not-in-target-list'], []),
    );
    expect(asked({ ...old, compatible: [] }, { ...old, compatible: [] }).verdict).toBe('incompatible');
  });

  const opaque = (doc: Doc, facts: Doc | null): Doc => ({
    ...doc,
    ref: { kind: 'pci-vf', bdf: '0000:3b:00.2' },
    ...(facts === null ? {} : { opaque: facts }),
  });
  const string = { present: true, read: 'drv-1\n' };

  test('AC-OPAQUE: presence decides without asking; the unasked question is a note or leaves it open', () => {
    expect(asked(opaque({}, string), opaque({}, null))).toEqual(no('opaque-missing-target'));
    expect(asked(opaque({}, null), opaque({}, string))).toEqual(no('opaque-missing-source'));
    expect(asked(opaque({}, string), opaque({}, string))).toEqual(open(['opaque-not-probed'], []));
    const model = { model: 'a.b/c' };
    expect(asked(opaque(model, string), opaque(model, string))).toEqual(yes([], ['opaque-not-probed']));
    expect(asked(opaque({}, { present: true, read_errno: 'EIO' }), opaque({}, string))).toEqual(
      no('opaque-read-error'),
    );
  });

  test.each(['EACCES', 'EPERM'])(
    'R-OPAQUE 4: %s at open leaves it open; from the driver it refuses',
    (read_errno) => {
      const pair = (facts: Doc) =>
        asked(opaque({}, { present: true, read_errno, ...facts }), opaque({}, string));
      expect(pair({})).toEqual(open(['opaque-unreadable'], []));
      expect(pair({ read_call: 'openat' })).toEqual(open(['opaque-unreadable'], []));
      expect(pair({ read_call: 'read' })).toEqual(no('opaque-read-error'));
      const answered = (opaqueAnswer: string) =>
        asked(opaque({}, string), opaque({}, string), { opaqueAnswer });
      expect(answered('may-not-ask')).toEqual(open(['opaque-unreadable'], []));
      expect(answered(read_errno)).toEqual(no('opaque-rejected'));
    },
  );

  test('K03: the driver refuses what published data allow; K04: and it allows nothing that they refuse', () => {
    const pair = [opaque({ model: 'a.b/c' }, string), opaque({ model: 'a.b/c' }, string)] as const;
    expect(asked(...pair, { opaqueAnswer: 'accepted' })).toEqual(yes());
    expect(asked(...pair, { opaqueAnswer: 'EINVAL' })).toEqual(no('opaque-rejected'));
    const other = opaque({ model: 'a.b/d' }, string);
    expect(asked(pair[0], other, { opaqueAnswer: 'accepted' })).toEqual(no('model-mismatch'));
    expect(() =>
      ask(...pair, { opaqueAnswer: 'EINVAL', overrides: [{ id: 'opaque-rejected', reason: 'x' }] }),
    ).toThrow(QuestionError);
  });

  test('the attribute of a type needs equal types and creation parameters', () => {
    const typed = (mdev_type: string, more: Doc = {}) =>
      opaque({}, { ...string, level: 'type', mdev_type, ...more });
    const yesman = { opaqueAnswer: 'accepted' };
    expect(asked(typed('a'), typed('b'), yesman)).toEqual(no('opaque-type-mismatch'));
    expect(asked(typed('a'), typed('a'), yesman)).toEqual(open(['opaque-creation-params-unknown'], []));
    const same = { creation_params: 'aggregator=2' };
    expect(asked(typed('a', same), typed('a', same), yesman)).toEqual(yes());
  });
});

describe('R-DERIVED', () => {
  const vf = (change: Doc = {}): Doc => ({
    ref: { kind: 'pci-vf', bdf: '0000:3b:00.2' },
    pci: { vendor: '15b3', device: '101e' },
    driver: { name: 'mlx5_vfio_pci', version: '6.8.0' },
    kernel: '6.8.0',
    ...change,
  });
  test('AC-DERIVED-1: likeness is unknown, and probable when it is accepted', () => {
    const result = ask(vf(), vf());
    expect(gist(result)).toEqual(open(['derived-identical'], []));
    expect(result.exit).toBe(11);
    expect(asked(vf(), vf(), { allowUnverified: true })).toEqual(perhaps(['derived-identical']));
  });
  test('AC-DERIVED-2: a difference is never more than unknown', () => {
    expect(asked(vf(), vf({ kernel: '6.9.0' }), { allowUnverified: true })).toEqual(
      open(['derived-differs'], []),
    );
    const bare = { ref: { kind: 'pci-vf', bdf: '0000:3b:00.2' }, pci: { vendor: '15b3', device: '101e' } };
    expect(asked(bare, bare, { allowUnverified: true })).toEqual(open(['derived-differs'], []));
    expect(asked({}, {})).toEqual(open(['no-mechanism'], []));
  });
  test('external facts and errata alone are no reason for a yes', () => {
    const doc = {
      external: { 'link-speed': { value: '1' } },
      errata: [{ id: 'e', action: 'warn', text: '' }],
    };
    expect(asked(doc, doc).verdict).toBe('unknown');
  });
});

describe('R-OVERRIDE', () => {
  const two = [nic({}, { ...feature(), extra: { type: 'int', init_value: 1 } }), nic()] as const;
  const lift = (...ids: string[]) => ({ overrides: ids.map((id) => ({ id, reason: 'tested by hand' })) });

  test('AC-OVERRIDE-1: one of two blocks overridden is still a refusal; both leave a doubt, on record', () => {
    expect(asked(...two, lift('param-unsupported:extra')).verdict).toBe('incompatible');
    const result = ask(...two, lift('param-unsupported:extra', 'param-unsupported:new-feature'));
    expect(gist(result)).toEqual(perhaps(['param-unsupported:extra', 'param-unsupported:new-feature']));
    expect(result.findings.every(({ overridden }) => overridden?.reason === 'tested by hand')).toBe(true);
  });

  test.each([
    ['AC-OVERRIDE-2: no wildcard', lift('param-*')],
    ['nothing that it matches', lift('model-mismatch')],
    ['no reason', { overrides: [{ id: 'param-unsupported:extra', reason: ' ' }] }],
  ])('an override with %s is a usage error', (_, policy) => {
    expect(() => ask(...two, policy)).toThrow(QuestionError);
  });

  test('bad models cannot be overridden, nor notes', () => {
    expect(() => ask(nic(), { model: 'x' }, lift('target-metadata-error'))).toThrow(/model/);
    expect(() => ask(nic(), nic({ later: 1 }), lift('metadata-member-ignored'))).toThrow(/refuses nothing/);
  });

  test('with a model mismatch overridden the rest is compared', () => {
    const other = { ...nic(), model: 'vendor-a.com/fork' };
    expect(asked(nic({}, feature()), other, lift('model-mismatch'))).toEqual(
      no('model-mismatch', 'param-unsupported:new-feature'),
    );
  });
});

describe('R-WAYOUT', () => {
  const erratum = (change: Doc = {}): Doc => ({
    id: 'e1',
    affects: { state_version: '1.0.0-1.2.0' },
    side: 'source',
    action: 'refuse',
    text: 'register X is forgotten',
    ...change,
  });
  const at = (state_version: string, change: Doc = {}, params: Doc = {}) =>
    nic({ state_version, ...change }, params);

  test('AC-WAYOUT-1: an erratum refuses the version that it is about, whoever states it', () => {
    const result = ask(at('1.1.0'), at('1.3.0', { errata: [erratum()] }));
    expect(gist(result)).toEqual(no('erratum:e1'));
    expect(result.findings[0]!.message).toContain('register X is forgotten');
    expect(asked(at('1.1.0', { errata: [erratum()] }), at('1.3.0'))).toEqual(no('erratum:e1'));
    expect(asked(at('1.2.1'), at('1.3.0', { errata: [erratum()] }))).toEqual(yes());
    const other = erratum({ side: 'target', affects: { state_version: '1.3.0' } });
    expect(asked(at('1.2.1'), at('1.3.0', { errata: [other] }))).toEqual(no('erratum:e1'));
    expect(asked(at('1.3.0', { errata: [other] }), at('1.4.0'))).toEqual(yes());
  });

  test('AC-WAYOUT-2: a warning leaves a doubt', () => {
    const errata = [erratum({ action: 'warn' })];
    expect(asked(at('1.1.0'), at('1.3.0', { errata }))).toEqual(perhaps(['erratum:e1']));
  });

  test('`when` looks at the values that are in effect', () => {
    const errata = [erratum({ when: { 'new-feature': [true] } })];
    const target = at('1.3.0', { errata }, feature());
    expect(asked(at('1.1.0', {}, feature()), target)).toEqual(no('erratum:e1'));
    expect(asked(at('1.1.0', {}, feature({ value: 'off' })), target)).toEqual(yes(['new-feature=off']));
  });

  test('a fact that is missing leaves it open', () => {
    const errata = [erratum({ affects: { kernel: '6.8-6.9' } })];
    expect(asked(at('1.1.0'), at('1.3.0', { errata }))).toEqual(open(['erratum:e1'], []));
    expect(asked(at('1.1.0', { kernel: '6.9.7-2-amd64' }), at('1.3.0', { errata })).verdict).toBe(
      'incompatible',
    );
    expect(asked(at('1.1.0', { kernel: '6.10.0' }), at('1.3.0', { errata })).verdict).toBe(
      'compatible certain',
    );
  });

  test('`require` adds a wanted value, or refuses', () => {
    const fix = { fix: { type: 'bool', init_value: false, off_value: false } };
    const errata = [erratum({ action: 'require', require: { fix: true } })];
    expect(asked(at('1.1.0'), at('1.3.0', { errata }, fix))).toEqual(yes(['fix=on'], ['erratum:e1']));
    expect(asked(at('1.1.0', { errata }), at('1.3.0'))).toEqual(no('erratum:e1'));
  });
});

describe('R-EXTERNAL in a check', () => {
  const link = (value: string, treatment: string, more: Doc = {}): Doc =>
    nic({ external: { 'link-speed': { value, treatment, ...more } } });
  test('what the guest will see is said, and is a step for the VMM', () => {
    const result = ask(link('25000', 'reload'), link('100000', 'reload'));
    expect(gist(result)).toEqual(yes([], ['external-will-change:link-speed']));
    expect(result.plan?.afterArrival).toEqual([{ external: 'link-speed', value: '100000' }]);
  });
  test('configure names the value to present; --treat needs both sides', () => {
    const target = link('100000', 'configure', { presents: ['25000'] });
    expect(ask(link('25000', 'configure'), target).plan?.configure).toEqual([
      { external: 'link-speed', value: '25000' },
    ]);
    const treat = { treat: new Map([['link-speed', 'hide' as const]]) };
    expect(asked(link('1', 'reload'), link('2', 'reload', { allowed: ['hide'] }), treat)).toEqual(
      no('external-treatment-not-allowed:link-speed'),
    );
    const both = { allowed: ['hide'] };
    expect(asked(link('1', 'reload', both), link('2', 'reload', both), treat)).toEqual(yes());
  });
});

describe('R-RUNTIME', () => {
  const format = (change: Doc): Doc => ({
    'state-format': {
      type: 'int',
      init_value: 2,
      off_value: 0,
      change: 'runtime',
      scope: 'device-state',
      ...change,
    },
  });
  const old = nic({}, format({ init_value: 1, allowed_values: [1] }));
  test('AC-RUNTIME-2: the source is adapted only when that is asked for', () => {
    const source = nic({}, format({ value: 2 }));
    expect(asked(source, old)).toEqual(no('value-not-allowed:state-format'));
    const result = ask(source, old, { adaptSource: true });
    expect(gist(result)).toEqual(yes(['<state-format=1']));
    expect(result.plan?.writes[0]).toEqual({
      side: 'source',
      param: 'state-format',
      from: '2',
      to: '1',
      change: 'runtime',
    });
  });
  test('AC-RUNTIME-3: what the guest sees is never adapted', () => {
    for (const scope of ['hardware-interface', 'both']) {
      expect(asked(nic({}, format({ value: 2, scope })), old, { adaptSource: true }).verdict).toBe(
        'incompatible',
      );
    }
    expect(asked(nic({}, format({ value: 2, change: 'closed' })), old, { adaptSource: true }).verdict).toBe(
      'incompatible',
    );
  });
  test('R-WAYOUT 2: a fix that the target does not know can be switched off', () => {
    expect(asked(nic({}, format({ value: 2 })), nic(), { adaptSource: true })).toEqual(
      yes(['<state-format=0']),
    );
  });
});

describe('R-STALE, R-DYNAMIC', () => {
  const now = Date.parse('2025-01-15T10:30:00Z');
  test('facts of an earlier boot of this host, and facts that are too old', () => {
    const here = nic({ ref: { kind: 'mdev-type', host: 'h' }, boot_id: 'a', taken: '2025-01-15T10:29:00Z' });
    const fresh = { now, maxAge: null, host: 'h', bootId: 'a' };
    expect(asked(here, nic(), { freshness: fresh })).toEqual(yes());
    expect(asked(here, nic(), { freshness: { ...fresh, bootId: 'b' } })).toEqual(
      open(['descriptor-stale'], []),
    );
    expect(asked(here, nic(), { freshness: { ...fresh, host: 'other', bootId: 'b' } })).toEqual(yes());
    expect(asked(here, here, { freshness: { ...fresh, maxAge: 61_000 } })).toEqual(yes());
    expect(asked(here, here, { freshness: { ...fresh, maxAge: 59_000 } })).toEqual(
      open(['descriptor-stale'], []),
    );
    expect(asked(here, nic(), { freshness: { ...fresh, maxAge: 61_000 } })).toEqual(
      open(['descriptor-stale'], []),
    );
  });

  const list = (doc: Doc) => parameterList(parseDescriptor(doc));
  test('AC-STALE-1: a parameter that changed is named with both values', () => {
    const after = nic({}, feature({ value: 'on' }));
    const [found, ...rest] = changedParams(
      list(nic({}, feature({ value: 'off' }))).values,
      list(after).values,
      parseDescriptor(after),
    );
    expect(rest).toEqual([]);
    expect(found).toMatchObject({ id: 'params-changed-after-check:new-feature', severity: 'block' });
    expect(found!.message).toBe('new-feature was off at the check and is on now');
  });

  const rare = (value: string, more: Doc = {}): Doc => ({
    rare: { type: 'bool', init_value: false, off_value: false, dynamic: true, value, ...more },
  });
  const recheck = (target: Doc, before = 'off', after = 'on') =>
    recheckDynamic(
      list(nic({}, rare(before))),
      parseDescriptor(nic({}, rare(after))),
      list(nic({}, rare(after))),
      parseDescriptor(target),
    ).map(({ id }) => id);
  test('AC-DYNAMIC: the rare case came into effect while the device ran', () => {
    expect(recheck(nic())).toEqual(['dynamic-param-unsupported:rare']);
    expect(recheck(nic({}, rare('on')))).toEqual([]);
    expect(recheck(nic({}, rare('off', { change: 'runtime' })))).toEqual([]);
    expect(recheck(nic({}, rare('off', { change: 'closed' })))).toEqual(['dynamic-needs-write:rare']);
    expect(recheck(nic(), 'off', 'off')).toEqual([]);
    // Going off is no condition that came up: the target was prepared for "on".
    expect(recheck(nic({}, rare('on')), 'on', 'off')).toEqual(['params-changed-after-check:rare']);
  });
});

test('notes of a description are findings of the check', () => {
  const notes = [
    { code: 'unreadable', param: 'num-resources', detail: '/sys/…/num-resources: EACCES' },
    { code: 'json-in-sysfs' },
  ];
  const result = ask(nic({ notes }), nic({ notes: [{ code: 'json-in-sysfs' }] }));
  expect(gist(result)).toEqual(open(['json-in-sysfs', 'unreadable:num-resources'], []));
  expect(result.findings[0]).toMatchObject({ source: { origin: 'file' }, target: { origin: 'file' } });
});

test('a description that is no object is unknown, and the error says so', () => {
  for (const bad of [null, 5, [], 'x', { params: [] }, { ref: 7 }]) {
    expect(ask(bad, nic()).verdict).toBe('unknown');
    expect(describeSubject(bad)).toHaveProperty('error.code', 'E_VALUE_TYPE');
  }
});
