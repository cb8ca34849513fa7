import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Forks, not threads: a test that ends a process must end only its own.
    pool: 'forks',
    testTimeout: 30_000,
  },
});
