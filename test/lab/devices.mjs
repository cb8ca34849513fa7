#!/usr/bin/env node
// The smallest proof that Node in the guest reaches the real VFIO: every device
// named on the command line is listed by sysfs, and its group opens exactly once.

import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';

const registered = readdirSync('/sys/class/vfio-dev').map((name) =>
  basename(dirname(dirname(realpathSync(`/sys/class/vfio-dev/${name}`)))),
);

for (const uuid of process.argv.slice(2)) {
  assert.ok(registered.includes(uuid), `${uuid} is not among ${registered}`);
  const group = `/dev/vfio/${basename(realpathSync(`/sys/bus/mdev/devices/${uuid}/iommu_group`))}`;
  const fd = openSync(group, 'r+');
  assert.throws(() => openSync(group, 'r+'), { code: 'EBUSY' });
  closeSync(fd);
}
