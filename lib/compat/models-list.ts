/** The list of models and their versions of RFC v4 (spec R-V4). Pure: no I/O. */
import { MetadataError, quoted } from './errors.ts';
import { parseModel } from './names.ts';

const VERSION = /^[ -~]+$/;

/**
 * A line `model:` opens a model, the lines behind it are its versions: opaque printable text. Throws E_MODELS_LIST, or
 * the code of a bad model name.
 */
export function parseModelsList(content: string, path: string): Map<string, string[]> {
  const lines = (content.endsWith('\n') ? content.slice(0, -1) : content).split('\n');
  const models = new Map<string, string[]>();
  let versions: string[] | null = null;
  for (const [index, line] of lines.entries()) {
    const fault = (what: string): MetadataError =>
      new MetadataError('E_MODELS_LIST', what, { pointer: path, line: index + 1, column: 1 });
    if (line.endsWith(':')) {
      const model = parseModel(line.slice(0, -1), path);
      if (models.has(model)) throw fault(`model ${quoted(model)} is listed twice`);
      versions = [];
      models.set(model, versions);
    } else if (!VERSION.test(line)) throw fault(`${quoted(line)} is no version`);
    else if (versions === null) throw fault(`version ${quoted(line)} stands before any model`);
    else if (versions.includes(line)) throw fault(`version ${quoted(line)} is listed twice`);
    else versions.push(line);
  }
  return models;
}
