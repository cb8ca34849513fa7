/** What TypeScript tests use of mtty.mjs. */
export interface Registers {
  read(bar: number, register: number): Promise<number>;
  write(bar: number, register: number, value: number): Promise<unknown>;
}
export function writeRecipe(registers: Registers): Promise<void>;
export function checkRegisters(registers: Registers): Promise<void>;
