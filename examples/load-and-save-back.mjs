// Loads a state file into a device and saves that device again, on the same open device: what a program does that keeps
// the device it loaded. A PCI device is reset when its last descriptor is closed, so two commands could not do this.
//
//   node examples/load-and-save-back.mjs SCENARIO DEVICE IN.vfmig OUT.vfmig
import { load, openDevice, openInput, openOutput, parseAddress, prepareLoad, save } from 'vfio-migrate';
import { mockHost } from 'vfio-migrate/mock';

const [scenario, name, from, to] = process.argv.slice(2);
const host = await mockHost(scenario);
// Everything that can be known about the file comes first: a damaged one never touches the device.
const input = await prepareLoad(await openInput(from));
const device = await openDevice(host, parseAddress(name));
try {
  const loaded = await load(device, input);
  console.log(
    `loaded ${loaded.bytes} bytes into ${loaded.device}, which is in ${loaded.stateAfter} (mock: ${host.mock})`,
  );
  const saved = await save(device, await openOutput(to, { force: true }));
  console.log(`saved ${saved.bytes} bytes from it to ${saved.output}, and it is in ${saved.stateAfter}`);
} finally {
  await device.close();
  await host.close();
}
