/** Real Nix before `serve` with two upstreams: what the first has damaged, cuts or describes wrongly, it gets all the same. */
import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { xz } from '@napi-rs/lzma';
import { execa } from 'execa';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { hashFromBytes, hashToBase32, type NixHash } from '../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../src/nix/nar-info.ts';
import { hashPartOf, type StorePath } from '../../src/nix/store-path.ts';
import { startServer } from '../../src/serve/node/server.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';
import { createNixClient, createNixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

interface Made {
  readonly path: StorePath;
  readonly nar: Buffer;
  readonly packed: Buffer;
}
const made = new Map<string, Made>();
const sha256 = (bytes: Buffer): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

beforeAll(async () => {
  const nix = await createNixEnv();
  const options = { env: nix.env, extendEnv: false } as const;
  try {
    // Hashes of hashes do not pack: the large one stays above what is checked before it is sent.
    for (const [name, hashes] of [
      ['small', 100],
      ['large', 40_000],
    ] as const) {
      const text = `builtins.concatStringsSep "" (builtins.genList (i: builtins.hashString "sha512" (toString i)) ${hashes})`;
      const expression = `builtins.toFile "${name}" (${text})`;
      const { stdout } = await execa(
        'nix-instantiate',
        ['--eval', '--json', '--read-write-mode', '-E', expression],
        options,
      );
      const path = JSON.parse(stdout) as StorePath;
      const file = join(nix.realStoreDir, basename(path));
      const dumped = await execa('nix-store', ['--dump', file], { ...options, encoding: 'buffer' });
      const nar = Buffer.from(dumped.stdout);
      made.set(name, { path, nar, packed: Buffer.from(xz.compressSync(nar)) });
    }
  } finally {
    await nix.cleanup();
  }
});

/** An upstream that has `made`, and says of it what `lie` makes of the truth. */
async function startFar({ path, nar, packed }: Made, lie: Partial<NarInfo> = {}): Promise<FakeUpstream> {
  const far = await startFakeUpstream();
  const fileHash = sha256(packed);
  const info: NarInfo = {
    ...{ path, narHash: sha256(nar), narSize: nar.length, references: [], sigs: [] },
    ...{ compression: 'xz', fileHash, fileSize: packed.length, url: `nar/${hashToBase32(fileHash)}.nar.xz`, ...lie },
  };
  far.files.set(`/${hashPartOf(path)}.narinfo`, formatNarInfo(info));
  far.files.set(`/${info.url}`, packed);
  return far;
}

function damage(far: FakeUpstream): void {
  for (const [url, file] of far.files) {
    if (!url.startsWith('/nar/')) continue;
    const bytes = Buffer.from(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    far.files.set(url, bytes);
  }
}

async function serve(...fars: readonly FakeUpstream[]): Promise<string> {
  const http = new HttpClient();
  const upstreams = fars.map(({ url }) => new Upstream(parseUpstream(url), { http, patience: PROMPT }));
  const reader = new MemoryCacheReader();
  const server = await startServer({ reader, upstreams, port: 0, drainMs: 0 });
  onTestFinished(async () => {
    await server.close();
    await http.destroy();
  });
  return server.url;
}

/** Whether a Nix with an empty store gets `path`, whole, when it is run `runs` times at most. */
async function substitutes(
  substituters: readonly string[],
  { path, nar }: Made,
  { bin, runs = 1 }: { readonly bin: string | undefined; readonly runs?: number },
): Promise<boolean> {
  const client = await createNixClient({ substituters, bin, config: ['require-sigs = false'] });
  const options = { env: client.env, extendEnv: false, timeout: 90_000, reject: false } as const;
  try {
    const realise = async (): Promise<boolean> =>
      (await execa('nix-store', ['--realise', path], options)).exitCode === 0;
    let isThere = false;
    for (let run = 0; run < runs && !isThere; run++) isThere = await realise();
    if (!isThere) return false;
    return (await execa('nix-store', ['--query', '--hash', path], options)).stdout === sha256(nar);
  } finally {
    await client.cleanup();
  }
}

const ends = [NIX_VERSIONS[0], NIX_VERSIONS.at(-1)].filter((nix) => nix !== undefined);

describe.each(ends)('$name', (nix) => {
  beforeAll(() => requireNix(nix));

  const get = (name: string): Made => made.get(name) as Made;
  it.each(['small', 'large'])(
    'gets what the first upstream has damaged, or cuts, from the second: %s',
    async (name) => {
      for (const spoil of [damage, (far: FakeUpstream) => void Object.assign(far.faults, { breakOffAfter: 1000 })]) {
        const [bad, good] = [await startFar(get(name)), await startFar(get(name))];
        spoil(bad);
        // Nix unpacks what it has of a large NAR before it is cut, and does not ask for it again when that fails. It may leave
        // before serve has read so far that it knows of the damage: then the next run meets it once more.
        const runs = name === 'large' && spoil === damage ? 5 : 1;
        expect(await substitutes([await serve(bad, good)], get(name), { ...nix, runs })).toBe(true);
      }
    },
  );

  it.each(['small', 'large'])('goes to its next substituter for what no upstream has right: %s', async (name) => {
    const [bad, good] = [await startFar(get(name)), await startFar(get(name))];
    damage(bad);
    expect(await substitutes([`${await serve(bad)}?priority=1`, `${good.url}?priority=2`], get(name), nix)).toBe(true);
  });

  it.each(['small', 'large'])('gets what is described wrongly where nothing is signed: %s', async (name) => {
    const otherHash = sha256(Buffer.from('other'));
    const lies = [{ fileSize: 1 }, { fileSize: 99_999_999_999 }, { fileHash: otherHash }];
    for (const lie of [...lies, { fileHash: otherHash, url: `nar/${hashToBase32(otherHash)}.nar.xz` }]) {
      const [direct, far] = [await startFar(get(name), lie), await startFar(get(name), lie)];
      expect(await substitutes([direct.url], get(name), nix)).toBe(true);
      expect([lie, await substitutes([await serve(far)], get(name), nix)]).toEqual([lie, true]);
    }
  });
});
