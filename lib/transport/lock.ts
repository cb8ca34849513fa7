/**
 * One process at a time. Node has no flock(2); a name in the abstract socket namespace is as exclusive, and the kernel
 * lets go of it when the process ends, however it ends.
 */
import { createServer } from 'node:net';

/** Null: somebody else in this network namespace has it. Else the function that lets go of it. */
export function acquireLock(name: string): Promise<(() => Promise<void>) | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(null);
      else reject(error);
    });
    server.listen(`\0vfio-migrate/${name}`, () => {
      server.unref();
      resolve(() => new Promise((closed) => server.close(() => closed())));
    });
  });
}
