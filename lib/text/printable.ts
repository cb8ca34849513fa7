/** Text that shows what it is. Pure: no I/O. */

/** Most texts; the pattern for the others takes long to make. */
const PLAIN = /^[\t\n -~]*$/;

/**
 * Control characters made visible, and those that change how others are shown: bidirectional controls, zero width,
 * line separators, private use. Names from sysfs, files and arguments may hold anything; a terminal must not obey it,
 * nor a reader see another text than there is.
 */
export function printable(text: string): string {
  if (PLAIN.test(text)) return text;
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|[\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (c) => {
      const hex = (c.codePointAt(0) as number).toString(16);
      return hex.length <= 2 ? `\\x${hex.padStart(2, '0')}` : `\\u{${hex}}`;
    },
  );
}
