// What this project makes: the state of one accelerator, moved to another by way of a file.
import { load, openDevice, openInput, openOutput, parseAddress, prepareLoad, save } from 'vfio-migrate';

/** Gives the number of bytes that went over. `host`: `linuxHost()`, or a mock kernel. */
export async function evacuate(host, from, into, file) {
  const source = await openDevice(host, parseAddress(from));
  try {
    await save(source, await openOutput(file, { force: true }), { move: true });
  } finally {
    await source.close();
  }
  const input = await openInput(file);
  try {
    const prepared = await prepareLoad(input);
    const target = await openDevice(host, parseAddress(into));
    try {
      return (await load(target, prepared)).bytes;
    } finally {
      await target.close();
    }
  } finally {
    input.close();
  }
}
