/** This package's own name and version. */
import { readFileSync } from 'node:fs';

/** From package.json, which stands one directory above both `lib` and `dist`. Read once. */
export function toolVersion(): { readonly name: string; readonly version: string } {
  tool ??= readTool();
  return tool;
}

let tool: { readonly name: string; readonly version: string } | undefined;

function readTool(): { readonly name: string; readonly version: string } {
  const { name, version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return { name, version };
}
