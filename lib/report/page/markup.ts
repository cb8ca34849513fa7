/** Markup in which nothing that comes from outside can be taken for markup. Pure: no I/O. */
import { printable } from '../../text/printable.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Markup that is put in as it is; everything else is escaped. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Part = Markup | string | number | bigint | null | false | readonly Part[];

export const escaped = (text: string): string =>
  printable(text).replace(/[&<>"']/g, (c) => ENTITIES[c] as string);

function textOf(part: Part): string {
  if (part instanceof Markup) return part.text;
  if (part === null || part === false) return '';
  if (typeof part === 'object') return part.map(textOf).join('');
  return escaped(String(part));
}

/** A template: what stands in it is markup, what is put in is text, in content and in quoted attributes. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(
    strings.reduce((all, literal, index) => `${all}${textOf(parts[index - 1] ?? null)}${literal}`),
  );
}
