/** A command line that is read without commander means what commander would make of it. */
import { describe, expect, it } from 'vitest';
import { COMMANDS, GLOBAL_OPTIONS } from '../../lib/cli/commands.ts';
import { parse } from '../../lib/cli/parse.ts';
import { parsePlain } from '../../lib/cli/plain.ts';

const ENVIRONMENTS: readonly NodeJS.ProcessEnv[] = [
  {},
  { VFIO_MIGRATE_MOCK: 'two-nics', VFIO_MIGRATE_MOCK_STATE: '' },
  { VFIO_MIGRATE_MOCK: '', VFIO_MIGRATE_MOCK_STATE: '/run/state' },
];
const OPERANDS = [[], ['a'], ['a', 'b'], ['-', 'b'], ['a', '', 'c'], ['check', 'help', 'a', 'b']];

/** Every spelling of every option by itself, and every two that take no value. */
function wordsFor(name: string): string[][] {
  const options = [...GLOBAL_OPTIONS, ...COMMANDS.find((spec) => spec.name === name)!.options];
  const spellings = options.flatMap(({ flags }) =>
    flags.split(', ').map((flag) => flag.split(' ')[0] as string),
  );
  const alone = spellings.map((word) => [word]);
  const switches = options
    .filter(({ flags }) => !flags.includes('<'))
    .map(({ flags }) => flags.split(', ')[0] as string);
  const pairs = switches.flatMap((one) => switches.map((other) => [one, other]));
  return [
    [],
    ...alone,
    ...pairs,
    ['-qv'],
    ['--json=x'],
    ['--js'],
    ['--'],
    ['-h'],
    ['--help'],
    ['-V'],
    ['--nothing'],
  ];
}

describe.each(COMMANDS.map(({ name }) => name))('%s', (name) => {
  it('is read as commander reads it, or left to it', () => {
    let plain = 0;
    for (const env of ENVIRONMENTS) {
      for (const operands of OPERANDS) {
        for (const words of wordsFor(name)) {
          for (const argv of [
            [name, ...operands, ...words],
            [name, ...words, ...operands],
            [...words, name, ...operands],
          ]) {
            const parsed = parsePlain(argv, env);
            if (parsed === null) continue;
            plain++;
            expect(parsed, argv.join(' ')).toEqual(parse(argv, env));
          }
        }
      }
    }
    const needsMore = COMMANDS.find((spec) => spec.name === name)!.options.some(
      ({ required, oneOf }) => required === true || oneOf !== undefined,
    );
    expect(plain > 0).toBe(!needsMore);
  });
});

describe('what is not plain', () => {
  it.each([
    [[]],
    [['nosuch', 'a']],
    [['--json', 'list']],
    [['check', 'a', 'b', '--override', 'x=y']],
    [['check', 'a', 'b', '--', '--json']],
    [['check', 'a']],
    [['check', 'a', 'b', 'c']],
    [['list', '--mock', 'two-nics']],
    [['help', 'list']],
  ])('%j', (argv: string[]) => {
    expect(parsePlain(argv, {})).toBeNull();
  });
});
