/** This package's own name and version. */
import { existsSync, readFileSync } from 'node:fs';

/** From package.json. Read once. */
export function toolVersion(): { readonly name: string; readonly version: string } {
  tool ??= readTool();
  return tool;
}

let tool: { readonly name: string; readonly version: string } | undefined;

/** One directory above `lib` and `dist`; the bundled command line is in a directory of `dist`. */
const MANIFESTS = ['../package.json', '../../package.json'].map((path) => new URL(path, import.meta.url));

function readTool(): { readonly name: string; readonly version: string } {
  const manifest = MANIFESTS.find((url) => existsSync(url)) ?? MANIFESTS[0]!;
  const { name, version } = JSON.parse(readFileSync(manifest, 'utf8'));
  return { name, version };
}
