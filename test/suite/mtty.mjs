/**
 * What is known about the kernel's sample driver mtty (uAPI §5): how to put a state into a device that no fresh device
 * has, and the bytes that the driver must give for it. Functions take anything that can read and write one byte of a
 * region, so that they serve the library and the bare requests alike.
 */
import assert from 'node:assert/strict';

/** Registers of a port, by their place in its BAR. */
export const Register = { THR: 0, IER: 1, FCR: 2, IIR: 2, LCR: 3, MCR: 4, LSR: 5, SCR: 7 };

const { THR, IER, FCR, IIR, LCR, MCR, LSR, SCR } = Register;

/** What stands in the FIFO of port 0 after {@link writeRecipe}; reading THR pops it. */
export const FIFO = 'HIJKL';

/** BAR, register, value: written one byte after the other. */
const RECIPE = [
  [0, SCR, 0xa5],
  // With DLAB set, the first two registers are the divisor.
  [0, LCR, 0x83],
  [0, THR, 0x34],
  [0, IER, 0x12],
  [0, LCR, 0x03],
  [0, FCR, 0x01],
  ...[...Buffer.from(FIFO)].map((byte) => [0, THR, byte]),
  [0, IER, 0x05],
  [0, MCR, 0x0b],
  [1, SCR, 0x5a],
];

/** BAR, register, and what it reads after the recipe. IIR: FIFOs on, data above the trigger level. LSR: data ready. */
const READ_BACK = [
  [0, SCR, 0xa5],
  [1, SCR, 0x5a],
  [0, IER, 0x05],
  [0, LCR, 0x03],
  [0, MCR, 0x0b],
  [0, IIR, 0xc4],
  [0, LSR, 0x01],
];

const HEADER = '4e2c3e8c89099d7e 01000000 00000000 02000000 00000000';
const PORT0 = '00050003 0b0000a5 48494a4b4c0000000000000000000000 05 00 05 00 00 00 3412 01 10 01 00';
const PORT1 = '00000000 0000005a 00000000000000000000000000000000 00 00 00 00 00 00 0000 00 10 00 00';

/** The 96 bytes that a two-port device gives after the recipe, as a real kernel gave them. */
export const IMAGE = Buffer.from(`${HEADER}${PORT0}${PORT1}`.replaceAll(' ', ''), 'hex');

/** Bytes of the driver's own header, which is all that it gives in PRE_COPY; then 36 for each port. */
export const HEADER_SIZE = 24;

/**
 * @typedef {object} Registers
 * @property {(bar: number, register: number) => Promise<number>} read
 * @property {(bar: number, register: number, value: number) => Promise<unknown>} write
 */

/** Brings a two-port device into the state of {@link IMAGE}. It must be fresh, or have no more than this recipe behind it. @param {Registers} registers */
export async function writeRecipe(registers) {
  // Emptied first: a device keeps its FIFO over reset and close.
  await registers.write(0, FCR, 0x07);
  for (const [bar, register, value] of RECIPE) await registers.write(bar, register, value);
}

/** Fails unless the registers show the state of {@link IMAGE}. Empties the FIFO: whoever wants the image saves first. @param {Registers} registers */
export async function checkRegisters(registers) {
  for (const [bar, register, value] of READ_BACK) {
    const found = await registers.read(bar, register);
    assert.equal(
      found,
      value,
      `BAR${bar} register ${register} reads 0x${found.toString(16)}, not 0x${value.toString(16)}`,
    );
  }
  const bytes = [];
  for (let i = 0; i < FIFO.length; i++) bytes.push(await registers.read(0, THR));
  assert.equal(Buffer.from(bytes).toString('latin1'), FIFO);
  assert.equal((await registers.read(0, LSR)) & 1, 0, 'the FIFO holds more than was put into it');
}
