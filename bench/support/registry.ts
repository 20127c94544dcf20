import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

/** Debian's docker-registry (distribution 2.8) on a free port of 127.0.0.1, with storage that goes when it stops. */
export interface Registry {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  readonly storageDir: string;
  stop(): Promise<void>;
}

const READY_WITHIN_MS = 10_000;

/**
 * Starts one; `fill` may put content into its storage before.
 *
 * @throws {Error} when it is not installed, or does not answer in time
 */
export async function startRegistry(fill?: (storageDir: string) => Promise<void>): Promise<Registry> {
  const dir = await mkdtemp(join(tmpdir(), 'nixcache-registry-'));
  const address = `127.0.0.1:${await freePort()}`;
  const storageDir = join(dir, 'storage');
  await mkdir(storageDir);
  await fill?.(storageDir);
  // JSON is YAML.
  const config = {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storageDir, maxthreads: 100 }, delete: { enabled: true } },
    http: { addr: address },
  };
  await writeFile(join(dir, 'config.yml'), JSON.stringify(config));
  const child = execa('docker-registry', ['serve', join(dir, 'config.yml')], {
    stdio: 'ignore',
    forceKillAfterDelay: 5000,
    reject: false,
  });
  let running = true;
  const ended = child.then(() => {
    running = false;
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  if (
    await until(
      async () => (await fetch(`http://${address}/v2/`)).ok,
      () => running,
    )
  ) {
    return { address, storageDir, stop };
  }
  await stop();
  throw new Error('docker-registry did not start; is it installed? (apt-get install docker-registry)');
}

/** Whether `isReady` came true in time, asked again and again; what it throws is a no. */
export async function until(isReady: () => Promise<boolean>, isRunning: () => boolean = () => true): Promise<boolean> {
  const end = performance.now() + READY_WITHIN_MS;
  while (performance.now() < end && isRunning()) {
    if (await isReady().catch(() => false)) return true;
    await delay(50);
  }
  return false;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const bound = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (bound === null || typeof bound === 'string') throw new Error('no free port');
  return bound.port;
}
