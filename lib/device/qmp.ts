/**
 * A client of QEMU's machine protocol (QMP), for the few commands that a pause needs: one command at a time, each with a
 * time limit. Replies and events are lines of JSON; what is neither ends the connection (qapi: "QMP protocol
 * specification").
 */
import { connect, type Socket } from 'node:net';

/** No member of it is known to be there. */
export type QmpObject = Readonly<Record<string, unknown>>;

/** What goes wrong with a command: QEMU's own words if it refused it. */
export class QmpError extends Error {}

interface Waiting {
  readonly id: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: QmpError) => void;
}

/** Far more than the replies to these commands have. */
const LONGEST_LINE = 1 << 20;

export class QmpClient {
  readonly #socket: Socket;
  readonly #milliseconds: number;
  readonly #events: string[] = [];
  #text = '';
  #greeted: Waiting | null = null;
  #waiting: Waiting | null = null;
  #ended: QmpError | null = null;
  #last = 0;

  private constructor(socket: Socket, milliseconds: number) {
    this.#socket = socket;
    this.#milliseconds = milliseconds;
    socket.setEncoding('utf8');
    // While an answer is waited for, its time limit keeps the process alive.
    socket.unref();
    socket.on('data', (part: string) => this.#take(part));
    socket.once('error', (error) => this.#end(new QmpError(error.message)));
    socket.once('close', () => this.#end(new QmpError('QEMU closed the connection')));
  }

  /**
   * Connects, reads the greeting and leaves the negotiation mode. `milliseconds`: limit of each answer. Rejects with
   * {@link QmpError}.
   */
  static async connect(path: string, milliseconds: number): Promise<QmpClient> {
    const client = new QmpClient(connect(path), milliseconds);
    try {
      await client.#answer('its greeting', (waiting) => {
        client.#greeted = waiting;
      });
      await client.execute('qmp_capabilities');
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Names of the events that came since this was called last. */
  takeEvents(): string[] {
    return this.#events.splice(0);
  }

  get open(): boolean {
    return this.#ended === null;
  }

  /** The `return` of a command; an error otherwise, also when it does not come in time. */
  async execute(command: string): Promise<QmpObject> {
    const value = await this.#answer(command, (waiting) => {
      this.#waiting = waiting;
      this.#socket.write(`${JSON.stringify({ execute: command, id: waiting.id })}\n`);
    });
    if (isObject(value)) return value;
    throw new QmpError(`${command} was answered with ${JSON.stringify(value)}`);
  }

  close(): void {
    this.#end(new QmpError('the connection was closed'));
  }

  #answer(what: string, ask: (waiting: Waiting) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) {
        reject(this.#ended);
        return;
      }
      const late = () => this.#drop(reject, `${what} was not answered in ${this.#milliseconds / 1000} s`);
      const timer = setTimeout(late, this.#milliseconds);
      const settled =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          settle(value);
        };
      this.#last += 1;
      ask({ id: this.#last, resolve: settled(resolve), reject: settled(reject) });
    });
  }

  /** The answer may still come: it is dropped by its id. */
  #drop(reject: (error: QmpError) => void, message: string): void {
    this.#waiting = null;
    this.#greeted = null;
    reject(new QmpError(message));
  }

  #take(part: string): void {
    this.#text += part;
    const lines = this.#text.split('\n');
    this.#text = lines.pop() as string;
    if (this.#text.length > LONGEST_LINE) this.#end(new QmpError('it sent a line without end'));
    for (const line of lines) if (this.open && line.trim() !== '') this.#message(line);
  }

  #message(line: string): void {
    const message = parsed(line);
    const said = JSON.stringify(line.slice(0, 80));
    if (message === null) this.#end(new QmpError(`it does not speak QMP: ${said}`));
    else if (typeof message.event === 'string') this.#events.push(message.event);
    else if (isObject(message.QMP)) this.#greeting(message);
    else this.#reply(message, said);
  }

  #reply(message: QmpObject, said: string): void {
    const { id, error } = message;
    const waiting = this.#waiting;
    if (waiting === null || id !== waiting.id) {
      // The answer to a command that was given up comes late.
      const late = typeof id === 'number' && id >= 1 && id <= this.#last;
      if (!late) this.#end(new QmpError(`it answered what was not asked: ${said}`));
      return;
    }
    this.#waiting = null;
    if ('return' in message) {
      waiting.resolve(message.return);
      return;
    }
    const desc = isObject(error) ? error.desc : undefined;
    waiting.reject(new QmpError(typeof desc === 'string' ? desc : `it answered without a result: ${said}`));
  }

  #greeting(message: QmpObject): void {
    const waiting = this.#greeted;
    this.#greeted = null;
    waiting?.resolve(message);
  }

  #end(error: QmpError): void {
    if (this.#ended !== null) return;
    this.#ended = error;
    this.#socket.destroy();
    for (const waiting of [this.#greeted, this.#waiting]) waiting?.reject(error);
    this.#greeted = null;
    this.#waiting = null;
  }
}

function parsed(line: string): QmpObject | null {
  try {
    const message: unknown = JSON.parse(line);
    return isObject(message) ? message : null;
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is QmpObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
