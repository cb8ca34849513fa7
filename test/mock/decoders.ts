/**
 * The streams of the kernel's drivers, taken apart by what their sources say of them and by nothing of the mock's. Each
 * gives the pieces that hold the device's own state, or throws what is wrong.
 */

const u16 = (b: Buffer, at: number) => b.readUInt16LE(at);
const u32 = (b: Buffer, at: number) => b.readUInt32LE(at);
const u64 = (b: Buffer, at: number) => b.readBigUInt64LE(at);

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

/** mlx5 and virtio: records of {size, flags, tag}. `hint` is what a record of tag 1 announces. */
export function records(stream: Buffer): { images: Buffer[]; hint: bigint | null } {
  const images: Buffer[] = [];
  let hint: bigint | null = null;
  for (let at = 0; at < stream.length; ) {
    must(at + 16 <= stream.length, `a header is cut at ${at}`);
    const size = u64(stream, at);
    const [flags, tag] = [u32(stream, at + 8), u32(stream, at + 12)];
    must(size > 0n && size < 1n << 32n, `a record of ${size} bytes`);
    must(tag <= 1 || (flags & 1) === 1, `mandatory tag ${tag}`);
    const end = at + 16 + Number(size);
    must(end <= stream.length, `a record is cut at ${at}`);
    const data = stream.subarray(at + 16, end);
    if (tag === 0) images.push(data);
    if (tag === 1) hint = u64(data, 0);
    at = end;
  }
  return { images, hint };
}

/** hisi_acc: one struct, its first 40 bytes compared with the target. */
export function hisi(stream: Buffer): { device: number; queues: number; registers: Buffer } {
  must(stream.length === 176, `${stream.length} bytes`);
  must(u64(stream, 0) === 0xaaccfeeddecadeden, 'magic');
  must(u16(stream, 28) === 1, `major version ${u16(stream, 28)}`);
  return { queues: u32(stream, 8), device: u32(stream, 12), registers: stream.subarray(40) };
}

interface Section {
  readonly id: string;
  readonly body: Buffer;
  readonly sections: number;
}

function qatSections(bytes: Buffer, count: number): Section[] {
  const found: Section[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    must(at + 16 <= bytes.length, `section ${i} is cut`);
    const id = bytes.toString('latin1', at, at + 8).replace(/\0.*$/u, '');
    const size = u32(bytes, at + 8);
    must(at + 16 + size <= bytes.length, `section ${id} is cut`);
    found.push({ id, body: bytes.subarray(at + 16, at + 16 + size), sections: u32(bytes, at + 12) });
    at += 16 + size;
  }
  must(at === bytes.length, 'bytes after the last section');
  return found;
}

/** The registers of the four banks of rings, each in a section of its own. */
function qatRings(section: Section): Buffer {
  const banks = qatSections(section.body, section.sections);
  must(banks.map(({ id }) => id).join() === 'bnk0,bnk1,bnk2,bnk3', 'banks');
  return Buffer.concat(
    banks.map((bank) => {
      const [registers, ...more] = qatSections(bank.body, bank.sections);
      must(registers?.id === 'mregs' && more.length === 0, `registers of ${bank.id}`);
      return registers.body;
    }),
  );
}

/**
 * qat: the setup (what the target has to be capable of) and the state, each a preamble with sections; `setup` is how long
 * the first of them is.
 */
export function qat(stream: Buffer): { setup: number; rings: Buffer; sections: Map<string, Section> } {
  must(stream.length === 4096, `${stream.length} bytes`);
  const sections = new Map<string, Section>();
  let at = 0;
  let setup = 0;
  for (let part = 0; part < 2; part++) {
    must(u32(stream, at) === 0xadf5caea && u32(stream, at + 4) === 1, `preamble at ${at}`);
    const [length, count, size] = [u16(stream, at + 8), u16(stream, at + 10), u32(stream, at + 12)];
    must(length === 16, `preamble of ${length} bytes`);
    for (const section of qatSections(stream.subarray(at + 16, at + 16 + size), count)) {
      if (section.sections > 0) qatSections(section.body, section.sections);
      sections.set(section.id, section);
    }
    at += 16 + size;
    if (part === 0) setup = at;
  }
  must(
    stream.subarray(at).every((byte) => byte === 0),
    'bytes after the state',
  );
  must([...sections.keys()].join() === 'CONFIG,GENER,MISCBAR,ETRBAR', 'sections');
  return { setup, rings: qatRings(sections.get('ETRBAR') as Section), sections };
}

/** xe: packets; the descriptor's KLVs first, a trailer without bytes last. */
export function packets(stream: Buffer): { types: number[]; klvs: Map<number, number>; vram: Buffer } {
  const types: number[] = [];
  const klvs = new Map<number, number>();
  const vram: Buffer[] = [];
  let expected = 0n;
  for (let at = 0; at < stream.length; ) {
    must(at + 24 <= stream.length, `a header is cut at ${at}`);
    const [version, type] = [stream[at], stream[at + 1] as number];
    const [offset, size] = [u64(stream, at + 8), u64(stream, at + 16)];
    must(version === 1 && type >= 1 && type <= 6, `version ${version}, type ${type}`);
    must(size <= 512n << 20n, `a packet of ${size} bytes`);
    const data = stream.subarray(at + 24, at + 24 + Number(size));
    must(BigInt(data.length) === size, `a packet is cut at ${at}`);
    must(types.at(-1) !== 2, 'a packet after the trailer');
    must((types.length === 0) === (type === 1), `packet ${types.length} has type ${type}`);
    if (type === 1) {
      for (let k = 0; k < data.length; k += 4 + 4 * (u32(data, k) & 0xffff))
        klvs.set(u32(data, k) >>> 16, u32(data, k + 4));
    }
    if (type === 6) {
      must(offset === expected, `VRAM at ${offset}, not ${expected}`);
      expected += size;
      vram.push(data);
    }
    types.push(type);
    at += 24 + Number(size);
  }
  must(types.at(-1) === 2, 'no trailer');
  return { types, klvs, vram: Buffer.concat(vram) };
}
