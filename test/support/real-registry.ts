/** Debian's docker-registry (distribution 2.8) with its own configuration, directory and port. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

const BINARY = 'docker-registry';
const START_TIMEOUT_MS = 20_000;

export interface RealRegistryOptions {
  /** Whether it obeys DELETE; default true. */
  readonly deletes?: boolean;
  /** Whether it keeps in memory which blobs there are, as the configuration of its image has it; default false. */
  readonly remembers?: boolean;
  /** `user:bcrypt hash`: nobody else may do anything. */
  readonly htpasswd?: string;
}

export class RealRegistry {
  /** `127.0.0.1:port` */
  readonly host: string;
  readonly #directory: string;
  readonly #config: string;
  /** Ends the process, by its id. */
  #kill: (() => Promise<unknown>) | undefined;

  private constructor(host: string, directory: string) {
    this.host = host;
    this.#directory = directory;
    this.#config = join(directory, 'config.yml');
  }

  /** @throws when docker-registry is not installed, saying how to install it */
  static async start(options: RealRegistryOptions = {}): Promise<RealRegistry> {
    const directory = await mkdtemp(join(tmpdir(), 'nixcache-registry-'));
    const registry = new RealRegistry(`127.0.0.1:${await freePort()}`, directory);
    await writeFile(registry.#config, config(registry.host, directory, options));
    if (options.htpasswd !== undefined) await writeFile(join(directory, 'htpasswd'), `${options.htpasswd}\n`);
    await registry.resume();
    return registry;
  }

  /** Where it keeps its files. */
  get directory(): string {
    return this.#directory;
  }

  /** Starts it (again) on the same port with the same contents. */
  async resume(): Promise<void> {
    const process = execa(BINARY, ['serve', this.#config], { stdio: 'ignore', reject: false });
    this.#kill = () => {
      process.kill('SIGKILL');
      return process;
    };
    let ended: string | undefined;
    void process.then((result) => {
      ended =
        result.code === 'ENOENT' ? 'not installed: apt-get install docker-registry' : `exit code ${result.exitCode}`;
    });
    for (const start = Date.now(); Date.now() - start < START_TIMEOUT_MS; await delay(20)) {
      if (ended !== undefined) throw new Error(`${BINARY}: ${ended}`);
      if (await answers(this.host)) return;
    }
    throw new Error(`${BINARY} does not answer at ${this.host}`);
  }

  /** Ends the process; its contents stay. */
  async pause(): Promise<void> {
    await this.#kill?.();
    this.#kill = undefined;
  }

  /**
   * Runs its garbage collection, as its manual wants it: while it is not running, unless `beside` it. Returns what it
   * printed.
   */
  async collectGarbage({ untagged = false, beside = false } = {}): Promise<string> {
    if (!beside) await this.pause();
    const flags = untagged ? ['--delete-untagged'] : [];
    const { stdout } = await execa(BINARY, ['garbage-collect', ...flags, this.#config], {
      stderr: 'ignore',
      timeout: 60_000,
    });
    if (!beside) await this.resume();
    return stdout;
  }

  async stop(): Promise<void> {
    await this.pause();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

const config = (
  host: string,
  directory: string,
  { deletes = true, remembers = false, htpasswd }: RealRegistryOptions,
): string =>
  JSON.stringify({
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(directory, 'data') },
      delete: { enabled: deletes },
      ...(remembers ? { cache: { blobdescriptor: 'inmemory' } } : {}),
    },
    http: { addr: host },
    ...(htpasswd === undefined ? {} : { auth: { htpasswd: { realm: 'test', path: join(directory, 'htpasswd') } } }),
  });

async function answers(host: string): Promise<boolean> {
  try {
    const response = await fetch(`http://${host}/v2/`);
    await response.body?.cancel();
    return response.ok || response.status === 401;
  } catch {
    return false; // Not listening yet.
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
