/** A headless Chromium, driven over a pipe by its own protocol: pages as a browser sees them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const PROGRAM = 'chromium-headless-shell';

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

export interface View {
  readonly width: number;
  readonly scheme: 'light' | 'dark';
}

export class Browser {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #answers = new Map<number, (message: Message) => void>();
  readonly #listeners = new Set<(message: Message) => void>();
  #last = 0;
  #session: string | undefined;
  /** What the page complained of since it was opened: refused by its policy, thrown, or asked for by a dialog. */
  complaints: string[] = [];

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process;
    this.#profile = profile;
    let text = '';
    (process.stdio[4] as Readable).on('data', (data: Buffer) => {
      const messages = (text + data.toString('utf8')).split('\0');
      text = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message) as Message);
    });
  }

  /** @throws where it is not installed: `.ci/setup tests` does that */
  static async start(): Promise<Browser> {
    const profile = await mkdtemp(join(tmpdir(), 'nixcache-browser-'));
    const flags = ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--remote-debugging-pipe'];
    const child = spawn(PROGRAM, [...flags, `--user-data-dir=${profile}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => reject(new Error(`${PROGRAM} does not start: run .ci/setup tests`, { cause })));
    });
    const browser = new Browser(child, profile);
    const { targetId } = await browser.#send<{ targetId: string }>('Target.createTarget', { url: 'about:blank' });
    const attach = { targetId, flatten: true };
    browser.#session = (await browser.#send<{ sessionId: string }>('Target.attachToTarget', attach)).sessionId;
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.#send(`${domain}.enable`);
    return browser;
  }

  /** Opens `url`, and waits until all of it is there. */
  async open(url: string, { width, scheme }: View): Promise<void> {
    this.complaints = [];
    const metrics = { width, height: 800, deviceScaleFactor: 1, mobile: width < 600 };
    await this.#send('Emulation.setDeviceMetricsOverride', metrics);
    await this.#send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    const loaded = new Promise<void>((resolve) => {
      const listener = ({ method }: Message): void => {
        if (method !== 'Page.loadEventFired') return;
        this.#listeners.delete(listener);
        resolve();
      };
      this.#listeners.add(listener);
    });
    await this.#send('Page.navigate', { url });
    await loaded;
  }

  /** What `expression` is, or promises, in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    interface Evaluated {
      readonly result: { readonly value: T };
      readonly exceptionDetails?: { readonly text: string; readonly exception?: { readonly description?: string } };
    }
    const asked = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails: thrown } = await this.#send<Evaluated>('Runtime.evaluate', asked);
    if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
    return result.value;
  }

  async press(key: string): Promise<void> {
    const text = key === 'Enter' ? '\r' : '';
    const event = { key, code: key, windowsVirtualKeyCode: key === 'Tab' ? 9 : 13, text };
    for (const type of ['keyDown', 'keyUp']) await this.#send('Input.dispatchKeyEvent', { ...event, type });
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #take(message: Message): void {
    if (message.id !== undefined) {
      this.#answers.get(message.id)?.(message);
      this.#answers.delete(message.id);
      return;
    }
    const { method = '', params = {} } = message;
    if (['Runtime.exceptionThrown', 'Log.entryAdded', 'Page.javascriptDialogOpening'].includes(method)) {
      this.complaints.push(JSON.stringify(params));
    }
    for (const listener of this.#listeners) listener(message);
  }

  #send<T = unknown>(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<T> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#answers.set(id, ({ result, error }) => {
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result as T);
      });
      const message = { id, method, params, ...(this.#session !== undefined && { sessionId: this.#session }) };
      (this.#process.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    });
  }
}
