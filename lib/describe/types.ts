/** Shapes that describing gives to the layers above. */
import type { MetadataError } from '../compat/errors.ts';
import type { PrepareAnswer, Subject } from '../compat/index.ts';
import type { OpenFile } from '../device/holders.ts';
import type { JsonObject } from '../text/json.ts';
import type { Sidecars, SidecarUse } from './sidecar.ts';

export interface DescribeOptions {
  /** Descriptions of devices whose driver publishes nothing; see `loadSidecars`. Default: none. */
  readonly sidecars?: Sidecars;
  /** Time of the descriptor; default: now. */
  readonly now?: Date;
  /** What only the open device tells: the member `migration`. Null: it has no migration support. */
  readonly migration?: JsonObject | null;
  /** Who has which device open (`openFiles`); default: looked up. Null: not looked up. */
  readonly held?: readonly OpenFile[] | null;
}

/** One device or creatable type, described. */
export interface Description {
  /** The descriptor (schemas/descriptor.schema.json), also when its metadata has a fault: then without them, with a note. */
  readonly document: JsonObject;
  /** What `check` and `find` take. */
  readonly subject: Subject;
  /** The fault in the metadata; null when there is none. */
  readonly error: MetadataError | null;
  /** Entries of sidecar files that match, best first: the first is in use. */
  readonly entries: readonly SidecarUse[];
  /** Reading and writing the present values of parameters. Nothing for a type, which has none. */
  readonly access: ParamAccess;
}

/** One value is one read(2) or write(2) on the attribute that the description names (spec R-PREPARE 8). */
export interface ParamAccess {
  /** Text without its newline, or the name of the errno; `ENOENT` where nothing says how the parameter is read. */
  read(param: string): Promise<PrepareAnswer>;
  /** Writes `<text>\n`; `EROFS` where nothing says how the parameter is written. */
  write(param: string, text: string): Promise<PrepareAnswer>;
}
