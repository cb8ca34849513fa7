/**
 * Files and pipes: where a command's bytes go (`openOutput`) and come from (`openInput`), and a state file read part by
 * part (`StateFileReader`). The only place outside the addon that reads and writes them.
 */
export { digestsOf, StreamHashes } from './digest.ts';
export { type Engine, REFERENCE, selectEngine, watchTransfer } from './engine.ts';
export { type Input, type InputOptions, inputFromFd, openInput } from './input.ts';
export { openFd, readSome, throwIfInterrupted } from './io.ts';
export { freeSpace, type OutputOptions, openOutput } from './output.ts';
export { connectPeer, openPeer, type PeerLink, type PeerPort } from './peer.ts';
export { type DataOptions, StateFileReader } from './reader.ts';
export { startReferenceTransfer } from './reference.ts';
export type { Output } from './sinks.ts';
export { isTerminal } from './terminal.ts';
