import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { encode } from '../../../../src/nix/nixbase32.ts';
import { DiskCache } from '../../../../src/serve/node/disk/disk-cache.ts';
import { hasEnded, OWN } from '../../../../src/serve/node/disk/owner.ts';
import type { Draft, KeptFacts } from '../../../../src/serve/object-cache.ts';
import { PieceDigester } from '../../../../src/streams/pieces.ts';
import { noise } from '../../../support/bytes.ts';
import { tempDir } from '../../../support/temp-dir.ts';

const MIB = 1024 * 1024;

const nameOf = (bytes: Buffer): string => encode(createHash('sha256').update(bytes).digest());

function factsOf(bytes: Buffer): KeptFacts {
  const digester = new PieceDigester();
  digester.update(bytes);
  return { pieces: digester.finish(), source: 'far' };
}

async function setUp(maxBytes: number, directory?: string) {
  const at = directory ?? (await tempDir());
  const warnings: string[] = [];
  const clock = { nowMs: Date.now() };
  const open = async (): Promise<DiskCache> => {
    const made = await DiskCache.open({
      ...{ directory: at, maxBytes, now: () => clock.nowMs, onWarning: (message) => void warnings.push(message) },
    });
    if (made === undefined) throw new Error(warnings.join());
    onTestFinished(() => made.close());
    return made;
  };
  return { directory: at, cache: await open(), open, warnings, clock };
}

async function keep(cache: DiskCache, bytes: Buffer, size: number | undefined = bytes.length): Promise<boolean> {
  const draft = await cache.begin(nameOf(bytes), size);
  if (draft === undefined) return false;
  await draft.append(bytes);
  const isKept = await draft.keep(factsOf(bytes));
  draft.close();
  return isKept;
}

async function read(cache: DiskCache, bytes: Buffer): Promise<Buffer | undefined> {
  const kept = cache.open(nameOf(bytes));
  try {
    return kept && (await kept.read({ offset: 0, length: kept.facts.pieces.size }));
  } finally {
    kept?.close();
  }
}

/** What all of it takes, as `du` has it. */
async function diskBytes(directory: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    total += entry.isDirectory()
      ? await diskBytes(path)
      : ((await lstat(path).catch(() => undefined))?.blocks ?? 0) * 512;
  }
  return total + (await lstat(directory)).blocks * 512;
}

const objectFile = (directory: string, bytes: Buffer): string =>
  join(directory, 'objects', nameOf(bytes).slice(-1), nameOf(bytes));

describe('a disk cache', () => {
  it('gives back what was kept, in this process and the next', async () => {
    const { cache, open } = await setUp(64 * MIB);
    for (const size of [0, 1, 1000, MIB, MIB + 1, 3 * MIB]) {
      const bytes = noise(size, size);
      expect(await keep(cache, bytes)).toBe(true);
      expect(cache.open(nameOf(bytes))?.isSound).toBe(true);
      const next = await open();
      const kept = next.open(nameOf(bytes));
      expect(kept?.facts).toEqual(factsOf(bytes));
      expect(kept?.isSound).toBe(false);
      kept?.vouch();
      kept?.close();
      expect(next.open(nameOf(bytes))?.isSound).toBe(true);
      expect(await read(next, bytes)).toEqual(bytes);
    }
  });

  it('keeps what nobody knew the size of, as long as there is room', async () => {
    const { cache, directory } = await setUp(24 * MIB);
    const bytes = noise(10 * MIB, 'unknown');
    expect(await keep(cache, bytes, undefined)).toBe(true);
    expect(await read(cache, bytes)).toEqual(bytes);
    const draft = (await cache.begin('x'.repeat(52), undefined)) as Draft;
    const write = async (): Promise<void> => {
      for (let i = 0; i < 40; i += 1) await draft.append(bytes.subarray(0, MIB));
    };
    await expect(write()).rejects.toThrow();
    expect(await draft.read({ offset: MIB, length: 10 })).toEqual(bytes.subarray(0, 10));
    expect(await draft.keep(factsOf(bytes))).toBe(false);
    draft.close();
    expect(await diskBytes(directory)).toBeLessThanOrEqual(24 * MIB);
  });

  it('has nothing of a draft that is not kept, and nothing that is longer than said', async () => {
    const { cache, directory } = await setUp(8 * MIB);
    const bytes = noise(100_000, 1);
    const draft = (await cache.begin(nameOf(bytes), bytes.length)) as Draft;
    await draft.append(bytes.subarray(0, 50_000));
    expect(cache.open(nameOf(bytes))).toBeUndefined();
    expect(await draft.keep(factsOf(bytes))).toBe(false);
    draft.close();
    await vi.waitFor(async () => expect(await readdir(join(directory, 'partial'))).toEqual([]));
    expect(cache.open(nameOf(bytes))).toBeUndefined();
  });

  it('lets go first of what was used longest ago', async () => {
    const { cache, clock } = await setUp(4 * MIB);
    const [old, used, young] = [noise(MIB, 'old'), noise(MIB, 'used'), noise(MIB, 'young')];
    for (const bytes of [old, used, young]) {
      clock.nowMs += 120_000;
      await keep(cache, bytes);
    }
    clock.nowMs += 120_000;
    expect(await read(cache, old)).toEqual(old);
    clock.nowMs += 120_000;
    await keep(cache, noise(MIB, 'new'));
    expect([await read(cache, used), await read(cache, old), await read(cache, young)]).toEqual([
      undefined,
      old,
      young,
    ]);
    // A note of its use does not look like a change.
    expect(cache.open(nameOf(old))?.isSound).toBe(true);
  });

  it('takes nothing that is larger than all of it, and lets nothing go for that', async () => {
    const { cache } = await setUp(4 * MIB);
    const bytes = noise(MIB, 1);
    await keep(cache, bytes);
    expect(await cache.begin('x'.repeat(52), 5 * MIB)).toBeUndefined();
    expect(await read(cache, bytes)).toEqual(bytes);
  });

  it('is within its limit at the start, whatever it was before', async () => {
    const { cache, directory } = await setUp(16 * MIB);
    for (let i = 0; i < 10; i += 1) await keep(cache, noise(MIB, i));
    await setUp(4 * MIB, directory);
    await vi.waitFor(async () => expect(await diskBytes(directory)).toBeLessThanOrEqual(4 * MIB), 20_000);
  });

  it('does not hold for the object of another name, nor for half of one, nor for one with another end', async () => {
    const { cache, directory, open } = await setUp(16 * MIB);
    const [one, two] = [noise(200_000, 1), noise(200_000, 2)];
    await keep(cache, one);
    const file = await readFile(objectFile(directory, one));
    const spoilt = [file.subarray(0, -1), file.subarray(0, 100_000), Buffer.alloc(file.length), Buffer.alloc(0)];
    for (let at = 200_000; at < file.length; at += 7) {
      const copy = Buffer.from(file);
      copy[at] = (copy[at] ?? 0) ^ 1;
      spoilt.push(copy);
    }
    for (const bytes of spoilt) {
      await writeFile(objectFile(directory, one), bytes);
      expect((await open()).open(nameOf(one))).toBeUndefined();
      await vi.waitFor(async () => await expect(lstat(objectFile(directory, one))).rejects.toThrow('ENOENT'));
    }
    await writeFile(objectFile(directory, one), file);
    expect(cache.open(nameOf(one))).toBeDefined();
    await rename(objectFile(directory, one), objectFile(directory, two));
    expect(cache.open(nameOf(two))).toBeUndefined();
  });

  it('believes no file that somebody wrote to', async () => {
    const { cache, directory } = await setUp(16 * MIB);
    const bytes = noise(200_000, 1);
    await keep(cache, bytes);
    const file = await readFile(objectFile(directory, bytes));
    file[1000] = (file[1000] ?? 0) ^ 1;
    await writeFile(objectFile(directory, bytes), file);
    expect(cache.open(nameOf(bytes))?.isSound).toBe(false);
  });

  it('checks again after an hour', async () => {
    const { cache, clock } = await setUp(16 * MIB);
    const bytes = noise(1000, 1);
    await keep(cache, bytes);
    clock.nowMs += 3_500_000;
    expect(cache.open(nameOf(bytes))?.isSound).toBe(true);
    clock.nowMs += 200_000;
    expect(cache.open(nameOf(bytes))?.isSound).toBe(false);
  });

  it('removes what a process left behind that has ended, and nothing of one that lives', async () => {
    const { directory, open } = await setUp(8 * MIB);
    const ended = execa('true');
    const { pid } = ended;
    await ended;
    const dead = OWN.replace(/-\d+-\d+$/, `-${pid}-1`);
    const reused = OWN.replace(/-\d+$/, '-1');
    expect([hasEnded(OWN), hasEnded(dead), hasEnded(reused), hasEnded('00000000-1-1')]).toEqual([
      false,
      true,
      true,
      undefined,
    ]);
    for (const owner of [dead, reused, OWN, '00000000-1-1']) {
      await writeFile(join(directory, 'partial', `${owner}.x.4096`), 'half');
      await writeFile(join(directory, 'grants', `${owner}.x.4096`), '');
    }
    await open();
    const left = [`${OWN}.x.4096`, '00000000-1-1.x.4096'].sort();
    for (const place of ['partial', 'grants']) {
      await vi.waitFor(async () => expect((await readdir(join(directory, place))).sort()).toEqual(left));
    }
  });

  it('reads records back whole or not at all', async () => {
    const { cache, directory } = await setUp(8 * MIB);
    await cache.writeRecord('far-a', 'said so\n');
    expect(await cache.readRecord('far-a')).toBe('said so\n');
    expect(await cache.readRecord('far-b')).toBeUndefined();
    const path = join(directory, 'records', 'a', 'far-a');
    await writeFile(path, (await readFile(path, 'utf8')).replace('so', 'no'));
    expect(await cache.readRecord('far-a')).toBeUndefined();
    await cache.writeRecord('far-a', 'said so\n');
    await cache.removeRecord('far-a');
    expect(await cache.readRecord('far-a')).toBeUndefined();
  });

  it('opens no link and no pipe', async () => {
    const { cache, directory, warnings } = await setUp(8 * MIB);
    const bytes = noise(1000, 1);
    await keep(cache, bytes);
    const path = objectFile(directory, bytes);
    await rename(path, join(directory, 'elsewhere'));
    await execa('ln', ['-s', '../../elsewhere', path]);
    expect(cache.open(nameOf(bytes))).toBeUndefined();
    await rm(path);
    await execa('mkfifo', [path]);
    expect(cache.open(nameOf(bytes))).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  it('goes on without what cannot be written, says so once, and tries again', async () => {
    const { cache, directory, warnings, clock } = await setUp(8 * MIB);
    await rm(join(directory, 'partial'), { recursive: true });
    await writeFile(join(directory, 'partial'), '');
    expect(await keep(cache, noise(1000, 1))).toBe(false);
    clock.nowMs += 20_000;
    expect(await keep(cache, noise(1000, 1))).toBe(false);
    expect(warnings).toEqual([expect.stringContaining('passed on and not kept')]);
    await rm(join(directory, 'partial'));
    await mkdir(join(directory, 'partial'));
    expect(await keep(cache, noise(1000, 1))).toBe(false);
    clock.nowMs += 20_000;
    expect(await keep(cache, noise(1000, 1))).toBe(true);
  });

  it('is not had where no directory can be made', async () => {
    const directory = await tempDir();
    await writeFile(join(directory, 'file'), '');
    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    expect(await DiskCache.open({ directory: join(directory, 'file/x'), maxBytes: MIB, onWarning })).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining('goes on without a disk cache')]);
  });
});

type Step =
  | {
      readonly do: 'begin';
      readonly cache: number;
      readonly seed: number;
      readonly size: number;
      readonly known: boolean;
    }
  | { readonly do: 'append' | 'keep' | 'close'; readonly draft: number }
  | { readonly do: 'record'; readonly cache: number; readonly seed: number; readonly size: number }
  | { readonly do: 'read'; readonly cache: number; readonly seed: number; readonly size: number };

const index = fc.nat(1);
const size = fc.oneof(fc.nat(2000), fc.nat(400_000), fc.nat(3_000_000));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('begin' as const), cache: index, seed: fc.nat(5), size, known: fc.boolean() }),
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('append' as const, 'keep', 'close'), draft: fc.nat(5) }) },
  fc.record({ do: fc.constant('record' as const), cache: index, seed: fc.nat(5), size: fc.nat(20_000) }),
  fc.record({ do: fc.constant('read' as const), cache: index, seed: fc.nat(5), size }),
);

describe('two disk caches in one directory', () => {
  it('never hold more than they may, and never give a wrong byte', { timeout: 120_000 }, async () => {
    const MAX = 3 * MIB;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const directory = await tempDir();
        const caches = [
          await DiskCache.open({ directory, maxBytes: MAX }),
          await DiskCache.open({ directory, maxBytes: MAX }),
        ];
        const drafts: { readonly draft: Draft; readonly bytes: Buffer; written: number }[] = [];
        const act = async (step: Step): Promise<void> => {
          if (step.do === 'begin') {
            const bytes = noise(step.size, step.seed);
            const draft = await caches[step.cache]?.begin(nameOf(bytes), step.known ? bytes.length : undefined);
            if (draft !== undefined) drafts.push({ draft, bytes, written: 0 });
          } else if (step.do === 'record') {
            await caches[step.cache]?.writeRecord(`r-${step.seed}`, 'x'.repeat(step.size));
          } else if (step.do === 'read') {
            const bytes = noise(step.size, step.seed);
            const cache = caches[step.cache] as DiskCache;
            const found = await read(cache, bytes).catch(() => undefined);
            if (found !== undefined) expect(found.equals(bytes)).toBe(true);
          } else {
            const one = drafts[step.draft % Math.max(1, drafts.length)];
            if (one === undefined) return;
            if (step.do === 'append') {
              const part = one.bytes.subarray(one.written, one.written + 200_000);
              one.written += part.length;
              await one.draft.append(part).catch(() => undefined);
            } else {
              if (step.do === 'keep') {
                const rest = one.bytes.subarray(one.written);
                one.written = one.bytes.length;
                await one.draft.append(rest).catch(() => undefined);
                await one.draft.keep(factsOf(one.bytes));
              }
              one.draft.close();
              drafts.splice(drafts.indexOf(one), 1);
            }
          }
        };
        // Two at a time: what one does, the other need not know yet.
        for (let at = 0; at < steps.length; at += 2) {
          await Promise.all(steps.slice(at, at + 2).map(act));
          expect(await diskBytes(directory)).toBeLessThanOrEqual(MAX);
        }
        for (const { draft } of drafts) draft.close();
        for (const cache of caches) await cache?.close();
        expect(await readdir(join(directory, 'grants'))).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  it('fill what there is room for', async () => {
    const { directory, cache, open } = await setUp(16 * MIB);
    const other = await open();
    for (let i = 0; i < 40; i += 1) await keep(i % 2 === 0 ? cache : other, noise(MIB / 2, i));
    const held = await diskBytes(directory);
    expect(held).toBeLessThanOrEqual(16 * MIB);
    expect(held).toBeGreaterThan(13 * MIB);
    expect(cache.usage().maxBytes).toBe(16 * MIB);
    expect(Math.abs(cache.usage().bytes - held)).toBeLessThan(3 * MIB);
  });
});
