/** This package's own name and version. */
import { existsSync, readFileSync } from 'node:fs';

/** From package.json. Read once. */
export function toolVersion(): { readonly name: string; readonly version: string } {
  tool ??= readTool();
  return tool;
}

let tool: { readonly name: string; readonly version: string } | undefined;

/** One directory above `lib` and `dist`; the bundled command line is in a directory of `dist`. */
const MANIFESTS = ['../package.json', '../../package.json'];

function readTool(): { readonly name: string; readonly version: string } {
  const places = MANIFESTS.map((path) => new URL(path, import.meta.url));
  const manifest = places.find((url) => existsSync(url)) ?? places[0]!;
  const { name, version } = JSON.parse(readFileSync(manifest, 'utf8'));
  return { name, version };
}
