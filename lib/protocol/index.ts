/**
 * The kernel's migration protocol as data: states, capabilities, paths, features, errors. Imports nothing that does
 * I/O, so it runs anywhere.
 */
export * from './errors.ts';
export * from './features.ts';
export * from './path.ts';
export * from './pci.ts';
export * from './states.ts';
