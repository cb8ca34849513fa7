/**
 * What the two ends of `save --peer` and `load --peer` say to each other beside the state file (docs/live.md). Pure: bytes
 * to messages and back. What comes from the other end is checked here, member by member: it may be anything.
 *
 * A message is 8 bytes (`VMP`, version, length of what follows as a little-endian u32) and that many bytes of JSON.
 */

export const PEER_VERSION = 1;
export const PEER_HEADER_BYTES = 8;
/** Bytes of JSON. */
export const MAX_PEER_MESSAGE = 64 << 10;

/** From the source: before the state file, and after its end. */
export type SourceMessage =
  | { readonly type: 'hello'; readonly tool: string }
  /** The source's device is in STOP and will not run again: the target may. */
  | { readonly type: 'commit' }
  /** The source's device is in `state`, and keeps its state. */
  | { readonly type: 'abort'; readonly state: string; readonly message: string };

/** From the target. Numbers are decimal text. */
export type TargetMessage =
  /** The target's device is in RESUMING and takes bytes. `stopNs`, `runNs`: how long its last requests take, if that is on record. */
  | { readonly type: 'ready'; readonly device: string; readonly stopNs?: string; readonly runNs?: string }
  /** Its driver took all bytes before the last section SYNC: how many so far, and how long it took over them. */
  | { readonly type: 'accepted'; readonly bytes: string; readonly ns: string }
  /** The state is whole, and its driver took it: the device is in STOP. */
  | { readonly type: 'validated'; readonly bytes: string }
  /** The end, after the commit. */
  | { readonly type: 'released'; readonly state: string }
  /** The end, at any time. */
  | {
      readonly type: 'refused';
      readonly code: string;
      readonly message: string;
      readonly state: string;
      readonly recovery?: string;
    };

export type PeerMessage = SourceMessage | TargetMessage;

/** Bytes that are no message. */
export class PeerSyntaxError extends Error {}

type Check = (value: unknown) => boolean;
const text: Check = (value) => typeof value === 'string' && value.length <= 4096;
const word: Check = (value) => typeof value === 'string' && /^[\w:./-]{1,128}$/.test(value);
const count: Check = (value) => typeof value === 'string' && /^\d{1,19}$/.test(value);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

const MEMBERS: Readonly<Record<PeerMessage['type'], Readonly<Record<string, Check>>>> = {
  hello: { tool: text },
  commit: {},
  abort: { state: word, message: text },
  ready: { device: word, stopNs: maybe(count), runNs: maybe(count) },
  accepted: { bytes: count, ns: count },
  validated: { bytes: count },
  released: { state: word },
  refused: { code: word, message: text, state: word, recovery: maybe(text) },
};

export function encodeMessage(message: PeerMessage): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(message));
  if (body.length > MAX_PEER_MESSAGE) throw new RangeError(`a message of ${body.length} bytes`);
  const bytes = new Uint8Array(PEER_HEADER_BYTES + body.length);
  bytes.set([0x56, 0x4d, 0x50, PEER_VERSION]);
  new DataView(bytes.buffer).setUint32(4, body.length, true);
  bytes.set(body, PEER_HEADER_BYTES);
  return bytes;
}

/** Length of the body. Throws {@link PeerSyntaxError}. */
export function decodeHeader(header: Uint8Array): number {
  if (header[0] !== 0x56 || header[1] !== 0x4d || header[2] !== 0x50)
    throw new PeerSyntaxError('it does not speak the protocol of vfio-migrate');
  if (header[3] !== PEER_VERSION)
    throw new PeerSyntaxError(`it speaks version ${header[3]} of the protocol, not ${PEER_VERSION}`);
  const length = new DataView(header.buffer, header.byteOffset).getUint32(4, true);
  if (length > MAX_PEER_MESSAGE) throw new PeerSyntaxError(`a message of ${length} bytes`);
  return length;
}

/** Members that this version does not know are dropped. Throws {@link PeerSyntaxError}. */
export function decodeBody(body: Uint8Array): PeerMessage {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new PeerSyntaxError('a message that is no JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new PeerSyntaxError('a message that is no object');
  const given = value as Record<string, unknown>;
  const { type } = given;
  if (typeof type !== 'string' || !Object.hasOwn(MEMBERS, type))
    throw new PeerSyntaxError('a message of unknown type');
  const message: Record<string, unknown> = { type };
  for (const [name, check] of Object.entries(MEMBERS[type as PeerMessage['type']])) {
    const member = Object.hasOwn(given, name) ? given[name] : undefined;
    if (!check(member)) throw new PeerSyntaxError(`a message ${type} with a wrong ${name}`);
    if (member !== undefined) message[name] = member;
  }
  return message as PeerMessage;
}

/** Messages out of bytes that come in pieces of any size. */
export class MessageSplitter {
  #have: Uint8Array = new Uint8Array(0);

  /** Throws {@link PeerSyntaxError}. */
  push(bytes: Uint8Array): PeerMessage[] {
    const all = new Uint8Array(this.#have.length + bytes.length);
    all.set(this.#have);
    all.set(bytes, this.#have.length);
    const messages: PeerMessage[] = [];
    let at = 0;
    while (all.length - at >= PEER_HEADER_BYTES) {
      const end = at + PEER_HEADER_BYTES + decodeHeader(all.subarray(at, at + PEER_HEADER_BYTES));
      if (end > all.length) break;
      messages.push(decodeBody(all.subarray(at + PEER_HEADER_BYTES, end)));
      at = end;
    }
    this.#have = all.slice(at);
    return messages;
  }
}
