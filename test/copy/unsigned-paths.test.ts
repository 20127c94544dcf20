import { expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { CopyEvent, CopyReport } from '../../src/copy/copy-options.ts';
import { copyUpstream } from '../../src/copy/copy-upstream.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { binaryCacheFiles, writeBinaryCache } from '../support/binary-cache.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { type CopyRun, copyBetween } from '../support/copy-runs.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const key = parseSecretKey(generateKey('upstream-1').secret);
const own = parseSecretKey(generateKey('own-1').secret);
const CA = `fixed:r:sha256:${'1'.repeat(52)}`;

/** One path that is signed, one whose content says what it is, and one that is neither. */
async function copyFiles(destination: MemoryStore, keys: readonly SecretKey[]): Promise<CopyRun> {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const files = binaryCacheFiles([
    { name: 'bare', compression: 'none' },
    { name: 'addressed', compression: 'none', edit: (info) => ({ ...info, ca: CA }) },
    { name: 'signed', compression: 'none', key },
  ]);
  const source = new Upstream(parseUpstream(await writeBinaryCache(await tempDir(), files)), { http });
  const events: CopyEvent[] = [];
  const report = await copyUpstream({
    ...{ source, destination, keys, storeDir: '/nix/store', paths: undefined, trustedKeys: [], jobs: 3, dryRun: false },
    reader: await IndexReader.open({ store: destination, strict: true }),
    ...{ creator: 'test', run: 'run-1', onEvent: (event) => events.push(event), now: () => day(1) },
  });
  return { report, events };
}

function expectTold({ report, events }: CopyRun, count: CopyReport['unsigned']): void {
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  const told = `${count} ${count === 1 ? 'path has' : 'paths have'} no signature, and none is made without a key`;
  expect(warnings).toEqual(count === 0 ? [] : [expect.stringContaining(told)]);
  expect(report.unsigned).toBe(count);
}

it('a copy of a binary cache says what nobody signed', async () => {
  expectTold(await copyFiles(new MemoryStore(), []), 1);
});

it('a copy of a binary cache says nothing of what it signs itself', async () => {
  expectTold(await copyFiles(new MemoryStore(), [own]), 0);
});

it('a copy of a cache says what nobody signed, also before it is made, and not again', async () => {
  const [source, destination] = [new MemoryStore(), new MemoryStore()];
  await copyFiles(source, []);
  await new CacheBuilder(source).publish({ at: day(2), paths: ['bare-2'] });
  expectTold(await copyBetween(source, destination, { dryRun: true }), 2);
  expectTold(await copyBetween(source, destination), 2);
  expectTold(await copyBetween(source, destination), 0);
});

it('a copy of a cache says nothing of what it signs itself', async () => {
  const source = new MemoryStore();
  await copyFiles(source, []);
  expectTold(await copyBetween(source, new MemoryStore(), { keys: [own] }), 0);
});
