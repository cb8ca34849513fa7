/** Attribute files of a device, as text (spec R-VALUE 4). Pure: no I/O. */
import { MetadataError, quoted } from './errors.ts';

/** Path relative to the device's or type's directory, separated by `/`, to the file's text. */
export type LayoutFiles = ReadonlyMap<string, string>;

/** The line of an attribute without its newline; null when there is no such file. Throws E_ATTR_MULTILINE. */
export function attributeText(files: LayoutFiles, path: string): string | null {
  const content = files.get(path);
  if (content === undefined) return null;
  const text = content.endsWith('\n') ? content.slice(0, -1) : content;
  if (/[\n\0]/.test(text)) {
    throw new MetadataError('E_ATTR_MULTILINE', `${quoted(path)} has more than one line`, path);
  }
  return text;
}
