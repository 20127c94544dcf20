import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { decode } from '../src/nix/nixbase32.ts';
import type { Closure } from './closure/closure.ts';
import { manyClients } from './serve-many.ts';
import { startNginx } from './support/nginx.ts';
import { ensureNewerNix } from './support/nix-rival.ts';
import { BIN, openNixcache } from './support/nixcache.ts';
import { type Registry, startRegistry } from './support/registry.ts';
import { type Goal, type Measured, median, type Report } from './support/report.ts';
import { type ServeProcess, startServe } from './support/serve-process.ts';
import { settled } from './support/settled.ts';

export interface ServeBenchOptions {
  readonly closure: Closure;
  readonly runs: number;
  /** As in NixcacheOptions. */
  readonly entry?: string | undefined;
  /** Called with one line before each step. */
  readonly onStep: (step: string) => void;
}

/** Who answers, and where its NARs lie. */
interface Server {
  readonly name: string;
  readonly url: string;
  readonly narUrls: readonly string[];
}

const NGINX = 'nginx';
const LAYOUT = 'serve, layout';
const REGISTRY = 'serve, docker-registry';
const DISK = 'serve, disk cache';
const DIRECT = 'docker-registry itself';
const FIRST_BYTE_ONE = 'first byte of a cold NAR, one client';
const FIRST_BYTE_MANY = 'first byte of a cold NAR, a hundred clients';
const WRK_SECONDS = 5;
/** NARs of at least so many bytes are blobs of their own in a registry, so that it can be asked for them directly. */
const LARGE_BYTES = 1024 * 1024;
const CONNECTIONS = [1, 4, 16];
const CLIENTS = 100;
const REPOSITORY = 'bench/nix-cache';

/** Serving, against nginx with the same closure as a plain binary cache, and against the registry itself. */
export async function benchServe({ closure, runs, entry = BIN, onStep }: ServeBenchOptions): Promise<Report> {
  const dir = await mkdtemp(join(tmpdir(), 'nixcache-bench-serve-'));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const nix = await ensureNewerNix();
  const secretKeyFile = join(dir, 'secret-key');
  await execa('nix-store', ['--generate-binary-cache-key', 'bench-1', secretKeyFile, join(dir, 'public-key')]);
  onStep('writing the plain binary cache, the layout and the registry');
  const plain = join(dir, 'plain');
  const from = ['--extra-experimental-features', 'nix-command', '--store', `local?root=${closure.root}`];
  const to = `file://${plain}?compression=zstd&secret-key=${secretKeyFile}`;
  await execa(nix, [...from, 'copy', '--to', to, closure.top], { env: { HOME: join(dir, 'nix-home') } });
  const layout = join(dir, 'layout');
  const registry = await startRegistry();
  stack.defer(() => registry.stop());
  const reference = `${registry.address}/${REPOSITORY}`;
  const nixcache = await openNixcache({ entry, storeRoot: closure.root, home: join(dir, 'publisher'), secretKeyFile });
  await nixcache.push([closure.top], `oci:${layout}`);
  await nixcache.push([closure.top], reference);

  const nginx = await startNginx(plain);
  stack.defer(() => nginx.stop());
  const envOf = (name: string): Record<string, string> => {
    const home = join(dir, name.replaceAll(/\W+/g, '-'));
    return { HOME: home, XDG_CACHE_HOME: join(home, 'cache') };
  };
  const open = async (name: string, cache: string, ...args: string[]): Promise<ServeProcess> => {
    const server = await startServe(entry, ['--cache', cache, ...args], envOf(name));
    stack.defer(() => server.stop());
    return server;
  };
  const [ofLayout, ofRegistry] = [await open(LAYOUT, `oci:${layout}`), await open(REGISTRY, reference)];
  const ofDisk = await open(DISK, reference, '--disk-cache', '16G');
  const names = (await readdir(plain)).filter((name) => name.endsWith('.narinfo'));
  const servers = await Promise.all(
    Object.entries({ [NGINX]: nginx.url, [LAYOUT]: ofLayout.url, [REGISTRY]: ofRegistry.url, [DISK]: ofDisk.url }).map(
      ([name, url]) => describeServer(name, url, names),
    ),
  );
  onStep('filling the disk cache');
  await fetchAll(dir, servers.find(({ name }) => name === DISK)?.narUrls ?? [], 4);
  const results = new Map<string, number[]>();
  const add = (name: string, value: number): void => void results.set(name, [...(results.get(name) ?? []), value]);
  const downloadsSeen: number[] = [];
  for (let round = 0; round < runs; round += 1) {
    onStep(`round ${round + 1}: narinfos`);
    for (const { name, url } of servers.slice(0, 2)) {
      for (const connections of [1, 32]) {
        add(`narinfo, ${name}, ${connections}`, 1e6 / (await narInfoRate(dir, url, names, connections)));
      }
    }
    onStep(`round ${round + 1}: NARs`);
    for (const { name, narUrls } of servers) {
      for (const connections of CONNECTIONS) {
        add(`all NARs, ${name}, ${connections}`, await fetchAll(dir, narUrls, connections));
      }
    }
    const { large, direct } = await largeNars(servers, registry);
    add(`large NARs, ${REGISTRY}`, await fetchAll(dir, large, 1));
    add(`large NARs, ${DIRECT}`, await fetchAll(dir, direct, 1));
    onStep(`round ${round + 1}: many clients`);
    const { pathname } = new URL(large[round % large.length] ?? '');
    const asked = { entry, registry: registry.address, repository: REPOSITORY, env: envOf('many'), clients: CLIENTS };
    const { oneMs, allMs, downloads } = await manyClients({ ...asked, path: pathname.slice(1) });
    add(FIRST_BYTE_ONE, oneMs);
    add(FIRST_BYTE_MANY, allMs);
    downloadsSeen.push(downloads);
    onStep(`round ${round + 1}: nix copy --from`);
    for (const { name, url } of servers) {
      add(`nix copy, ${name}`, await settled(() => copyFrom(dir, nix, url, closure.top)));
    }
  }
  const memory = { [LAYOUT]: ofLayout.readUsage(), [REGISTRY]: ofRegistry.readUsage(), [DISK]: ofDisk.readUsage() };
  return {
    suite: 'serve',
    conditions: {
      closure: `${closure.pathCount} paths, ${(closure.narBytes / 2 ** 30).toFixed(2)} GiB of NARs`,
      cores: `${cpus().length}, ${cpus()[0]?.model.trim() ?? 'unknown'}`,
      node: process.version,
      nginx: nginx.version,
      narinfo: 'time of a thousand requests',
    },
    measured: [...results].map(([name, all]) => toMeasured(name, all, memory)),
    goals: [
      ...compare(results),
      { name: `downloads of one cold NAR for ${CLIENTS} clients`, ratio: median(downloadsSeen), atMost: 1.05 },
    ],
  };
}

async function describeServer(name: string, url: string, narInfos: readonly string[]): Promise<Server> {
  const narUrls: string[] = [];
  for (const narInfo of narInfos) {
    const answer = await fetch(`${url}/${narInfo}`);
    const path = /^URL: (.*)$/m.exec(await answer.text())?.[1];
    if (!answer.ok || path === undefined) throw new Error(`${name} has no ${narInfo}`);
    narUrls.push(`${url}/${path}`);
  }
  return { name, url, narUrls };
}

/** Requests a second, all narinfos in turn. */
async function narInfoRate(dir: string, url: string, names: readonly string[], connections: number): Promise<number> {
  const script = join(dir, 'narinfos.lua');
  const paths = names.map((name) => `"/${name}"`).join(',');
  await writeFile(
    script,
    `local p={${paths}}\nlocal i=0\nrequest=function() i=i%#p+1 return wrk.format("GET",p[i]) end\n`,
  );
  const args = ['-t', '1', '-c', String(connections), '-d', `${WRK_SECONDS}s`, '-s', script, url];
  const { stdout } = await execa('wrk', args);
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`wrk had errors:\n${stdout}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}

/** Milliseconds for all `urls` by curl, so many at once; with one, on one connection. */
async function fetchAll(dir: string, urls: readonly string[], connections: number): Promise<number> {
  const list = join(dir, 'urls');
  await writeFile(list, urls.map((url) => `url = "${url}"\noutput = "/dev/null"\n`).join(''));
  const parallel = connections === 1 ? [] : ['--parallel', '--parallel-max', String(connections)];
  const started = performance.now();
  await execa('curl', ['--silent', '--show-error', '--fail', '--location', ...parallel, '--config', list]);
  return performance.now() - started;
}

async function largeNars(
  servers: readonly Server[],
  registry: Registry,
): Promise<{ readonly large: readonly string[]; readonly direct: readonly string[] }> {
  const own = servers.find(({ name }) => name === REGISTRY);
  const large: string[] = [];
  const direct: string[] = [];
  const { stdout } = await execa('find', [
    registry.storageDir,
    '-path',
    '*/blobs/sha256/*/data',
    '-size',
    `+${LARGE_BYTES}c`,
  ]);
  const hexes = new Set(stdout.split('\n').map((file) => file.split('/').at(-2)));
  for (const url of own?.narUrls ?? []) {
    const hex = Buffer.from(decode(/nar\/([0-9a-z]{52})\./.exec(url)?.[1] ?? '')).toString('hex');
    if (!hexes.has(hex)) continue;
    large.push(url);
    direct.push(`http://${registry.address}/v2/${REPOSITORY}/blobs/sha256:${hex}`);
  }
  return { large, direct };
}

async function copyFrom(dir: string, nix: string, url: string, top: string): Promise<number> {
  const root = await mkdtemp(join(dir, 'store-'));
  try {
    const args = ['--extra-experimental-features', 'nix-command', 'copy', '--no-check-sigs', '--from', url];
    const started = performance.now();
    await execa(nix, [...args, '--to', `local?root=${root}`, top], { env: { HOME: join(root, 'home') } });
    return performance.now() - started;
  } finally {
    await execa('chmod', ['-R', 'u+w', root]);
    await rm(root, { recursive: true, force: true });
  }
}

function toMeasured(
  name: string,
  all: readonly number[],
  memory: Readonly<Record<string, { readonly cpuMs: number; readonly peakRssBytes: number }>>,
): Measured {
  const usage = Object.entries(memory).find(([server]) => name.includes(server))?.[1];
  return { name, wallMs: median(all), ...(usage ? { peakRssBytes: usage.peakRssBytes } : {}), runsMs: all };
}

/** Ratios of times, ours by theirs, round by round. */
function compare(results: ReadonlyMap<string, readonly number[]>): readonly Goal[] {
  const goal = (ours: string, theirs: string, atMost: number): Goal => {
    const [a, b] = [results.get(ours) ?? [], results.get(theirs) ?? []];
    return { name: `${ours} / ${theirs}`, ratio: median(a.map((ms, round) => ms / (b[round] ?? Number.NaN))), atMost };
  };
  return [
    ...[1, 32].map((n) => goal(`narinfo, ${LAYOUT}, ${n}`, `narinfo, ${NGINX}, ${n}`, 1 / 0.9)),
    ...CONNECTIONS.map((n) => goal(`all NARs, ${LAYOUT}, ${n}`, `all NARs, ${NGINX}, ${n}`, 2)),
    ...CONNECTIONS.map((n) => goal(`all NARs, ${DISK}, ${n}`, `all NARs, ${NGINX}, ${n}`, 2)),
    goal(FIRST_BYTE_MANY, FIRST_BYTE_ONE, 1.5),
    goal(`large NARs, ${REGISTRY}`, `large NARs, ${DIRECT}`, 2.5),
    goal(`nix copy, ${LAYOUT}`, `nix copy, ${NGINX}`, 1.05),
    goal(`nix copy, ${DISK}`, `nix copy, ${NGINX}`, 1.05),
    goal(`nix copy, ${REGISTRY}`, `nix copy, ${NGINX}`, 1.5),
  ];
}
