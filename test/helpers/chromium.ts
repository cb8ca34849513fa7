/**
 * Chromium without a window, driven by its own debugging protocol over two pipes: the page is clicked and measured, and no
 * package is needed for that. A browser that is missing leaves a test out, but fails it under CI=true.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** Path of a browser, or null. Throws under CI=true when there is none. */
export function findChromium(): string | null {
  for (const directory of (process.env.PATH ?? '').split(delimiter))
    for (const name of NAMES) {
      try {
        accessSync(join(directory, name), constants.X_OK);
        return join(directory, name);
      } catch {}
    }
  if (process.env.CI === 'true')
    throw new Error(`none of ${NAMES.join(', ')} is installed: scripts/setup installs chromium`);
  return null;
}

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--remote-debugging-pipe',
];

// biome-ignore lint/suspicious/noExplicitAny: the protocol's messages, of which a test reads what it asked for
type Message = any;

export class Chromium {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #waiting = new Map<number, { resolve(result: Message): void; reject(error: Error): void }>();
  readonly #ended: Promise<void>;
  #error: Error | null = null;
  #last = 0;
  /** Events of the protocol since the browser began. */
  readonly events: { readonly method: string; readonly params: Message }[] = [];

  constructor(path: string) {
    this.#directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-chromium-'));
    const env = { ...process.env };
    // A sanitizer's run-time library is for the addon.
    for (const name of ['LD_PRELOAD', 'ASAN_OPTIONS', 'TSAN_OPTIONS', 'UBSAN_OPTIONS']) delete env[name];
    this.#child = spawn(path, [...FLAGS, `--user-data-dir=${this.#directory}`, 'about:blank'], {
      env: { ...env, HOME: this.#directory },
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    this.#ended = new Promise((resolve) => {
      const end = (error: Error) => {
        this.#error ??= error;
        for (const { reject } of this.#waiting.values()) reject(error);
        this.#waiting.clear();
        resolve();
      };
      this.#child.on('error', end);
      this.#child.on('close', (code, signal) => end(new Error(`${path} has ended (${code ?? signal})`)));
    });
    let rest = '';
    const output = this.#child.stdio[4] as Readable;
    output.setEncoding('utf8').on('data', (part: string) => {
      const messages = `${rest}${part}`.split('\0');
      rest = messages.pop() as string;
      for (const message of messages) this.#take(JSON.parse(message));
    });
    output.on('error', () => {});
    (this.#child.stdio[3] as Writable).on('error', () => {});
  }

  #take({ id, result, error, method, params }: Message): void {
    if (id === undefined) {
      this.events.push({ method, params });
      return;
    }
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error.message));
  }

  send(method: string, params: object = {}, sessionId?: string): Promise<Message> {
    if (this.#error !== null) return Promise.reject(this.#error);
    const id = ++this.#last;
    const message = { id, method, params, ...(sessionId === undefined ? {} : { sessionId }) };
    const answer = new Promise<Message>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    return answer;
  }

  /** A page of its own that shows `url`, loaded. */
  async open(url: string, width: number, scheme: 'light' | 'dark' = 'light'): Promise<Page> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, sessionId));
    const metrics = { width, height: 900, deviceScaleFactor: 1, mobile: false };
    await page.send('Emulation.setDeviceMetricsOverride', metrics);
    await page.send('Emulation.setEmulatedMedia', {
      features: [{ name: 'prefers-color-scheme', value: scheme }],
    });
    for (const part of ['Page', 'Network', 'Log', 'Runtime']) await page.send(`${part}.enable`);
    await page.send('Page.navigate', { url });
    await page.until(`document.readyState === 'complete' && location.href !== 'about:blank'`);
    return page;
  }

  async close(): Promise<void> {
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    this.send('Browser.close').catch(() => {});
    await this.#ended;
    clearTimeout(late);
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 });
  }
}

export class Page {
  readonly send: (method: string, params?: object) => Promise<Message>;

  constructor(send: Page['send']) {
    this.send = send;
  }

  /** Value of an expression in the page. */
  async value(expression: string): Promise<Message> {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until the expression is true. */
  async until(expression: string): Promise<void> {
    while ((await this.value(expression)) !== true) await new Promise((resolve) => setTimeout(resolve, 50));
  }

  /** Presses a key on what has the focus. */
  async press(key: string, text?: string): Promise<void> {
    const member = text === undefined ? {} : { text };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', key, ...member });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', key });
  }

  /** Clicks in the middle of the first element that fits. */
  async click(selector: string): Promise<void> {
    const at = `document.querySelector(${JSON.stringify(selector)})`;
    const { x, y } = await this.value(
      `(${at}.scrollIntoView({ block: 'center' }), (({ x, y, width, height }) => ({ x: x + width / 2, y: y + height / 2 }))(${at}.getBoundingClientRect()))`,
    );
    for (const type of ['mousePressed', 'mouseReleased'])
      await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
  }
}
