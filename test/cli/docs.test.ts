/**
 * docs/cli.md shows help texts as the program prints them. UPDATE_DOCS=1 writes them anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { COMMANDS, EXIT_CODES } from '../../lib/cli/commands.ts';
import { cli } from '../helpers/cli.ts';

const FILE = new URL('../../docs/cli.md', import.meta.url);
const MARKER = /^<!-- help:([\w-]*) -->\n(?:\n```text\n[\s\S]*?\n```\n)?/gm;

it('docs/cli.md shows the help of every command, as it is', () => {
  const text = readFileSync(FILE, 'utf8');
  const shown: string[] = [];
  const now = text.replace(MARKER, (_all, name: string) => {
    shown.push(name);
    const command = name === '' ? '--help' : `${name} --help`;
    return `<!-- help:${name} -->\n\n\`\`\`text\n$ vfio-migrate ${command}\n${cli(command.split(' ')).stdout.trimEnd()}\n\`\`\`\n`;
  });
  if (process.env.UPDATE_DOCS) writeFileSync(FILE, now);
  expect(shown).toEqual(['', ...COMMANDS.map(({ name }) => name)]);
  expect(text).toBe(now);
});

it('docs/cli.md explains every exit code', () => {
  const text = readFileSync(FILE, 'utf8');
  for (const [code] of EXIT_CODES) {
    expect(text).toContain(`\n| ${code} | `);
  }
});
