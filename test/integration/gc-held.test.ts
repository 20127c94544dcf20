/**
 * gc is held in the PUT of its checkpoint, by a proxy in front of docker-registry, while others publish, push and pin what it
 * is about to drop; then the checkpoint lands. What they were told is in the cache can be had at once, whether gc lives to
 * see it or not.
 */
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { startRegistry } from '../support/e2e-caches.ts';
import { nixcache, startNixcache, startServe } from '../support/e2e-cli.ts';
import { readJson, substitute, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv } from '../support/nix-env.ts';

const key = generateKey('held-1');

const packages = (version: string): string => `rec {
  shared = run "shared-${version}" "echo ${version} > $out";
  pushed = run "pushed-${version}" "echo \${shared} > $out";
  published = run "published-${version}" "echo \${shared} again > $out";
  pinned = run "pinned-${version}" "echo \${shared} once more > $out";
}`;

interface HoldingProxy {
  readonly host: string;
  /** A checkpoint has arrived, and is held. */
  readonly held: Promise<void>;
  /** Passes it on, whether who sent it is still there or not; settles once the registry has answered. */
  release(): Promise<number>;
}

/** In front of the registry at `host`. */
async function holdCheckpoints(host: string): Promise<HoldingProxy> {
  let arrived = (): void => undefined;
  let pass = (): void => undefined;
  let answered = (_status: number): void => undefined;
  const held = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const released = new Promise<void>((resolve) => {
    pass = resolve;
  });
  const done = new Promise<number>((resolve) => {
    answered = resolve;
  });
  const [hostname, port] = host.split(':');
  const server = createServer(async (incoming, outgoing) => {
    const isHeld = incoming.method === 'PUT' && incoming.url?.includes('/manifests/ckpt-') === true;
    const body: Buffer[] = [];
    for await (const chunk of incoming) body.push(chunk);
    if (isHeld) {
      arrived();
      await released;
    }
    const { url, method, headers } = incoming;
    const forwarded = request({ hostname, port, path: url, method, headers }, (response) => {
      if (isHeld) answered(response.statusCode ?? 0);
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(outgoing);
    });
    forwarded.on('error', () => outgoing.destroy());
    forwarded.end(Buffer.concat(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    held,
    release: () => {
      pass();
      return done;
    },
  };
}

it.each(['lives', 'is killed'])('loses nothing that was published while it was held, when it %s', async (fate) => {
  const [host, nix] = await Promise.all([startRegistry(), createNixEnv()]);
  onTestFinished(async () => {
    await Promise.all([host.stop(), nix.cleanup()]);
  });
  const cache = host.cache('main');
  const env = { ...nix.env, NIX_SIGNING_KEY: key.secret };
  const run = async (...args: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await nixcache(args, { env });
    expect(exitCode, stderr).toBe(0);
    return stdout;
  };
  const publish = async (version: string, ...args: string[]): Promise<ReadonlyMap<string, string>> => {
    const flake = await writeFlake(join(nix.dir, 'flake'), packages(version));
    const { outputs } = readJson(await run('publish', flake, '--to', cache, '--no-upstream', '--json', ...args));
    return new Map(outputs.map(({ attrPath, outputs: { out = '' } }) => [attrPath.split('.').at(-1) ?? '', out]));
  };
  const old = await publish('v1');
  await delay(2100); // times in the cache are whole seconds
  await publish('v2');

  const proxy = await holdCheckpoints(host.registry.host);
  await using gc = startNixcache(['gc', '--cache', cache.replace(host.registry.host, proxy.host), '--retain', '1s'], {
    env,
  });
  await Promise.race([proxy.held, gc.result.then(({ stderr }) => Promise.reject(new Error(`gc ended: ${stderr}`)))]);
  await run('push', old.get('pushed') ?? '', '--to', cache, '--no-upstream');
  await publish('v1', '--only', 'packages.*.published');
  await run('pin', 'stable', old.get('pinned') ?? '', '--cache', cache);
  if (fate === 'is killed') gc.signal('SIGKILL');
  if (fate === 'is killed') await gc.result;
  expect(await proxy.release()).toBe(201);
  if (fate === 'lives') expect((await gc.result).exitCode, (await gc.result).stderr).toBe(0);

  const expected = [...old.values()].sort();
  const served = async (): Promise<readonly string[]> => {
    await using server = await startServe(['--from', cache, '--no-upstream'], nix);
    return await substitute(server.url, [key.public], expected);
  };
  expect(await served()).toEqual(expected);
  await run('gc', '--cache', cache, '--retain', '1s', '--grace', '0s');
  expect(await served()).toEqual(expected);
});
