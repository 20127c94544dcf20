import { expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { CopyEvent } from '../../src/copy/copy-options.ts';
import { copyUpstream } from '../../src/copy/copy-upstream.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { binaryCacheFiles, writeBinaryCache } from '../support/binary-cache.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

const key = parseSecretKey(generateKey('upstream-1').secret);
const own = parseSecretKey(generateKey('own-1').secret);

it.each([
  ['says what nobody signed', [], ['1 path has no signature']],
  ['says nothing of what it signs itself', [own], []],
] as const)('a copy %s', async (_what, keys, told) => {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const files = binaryCacheFiles([
    { name: 'bare', compression: 'none' },
    { name: 'signed', compression: 'none', key },
  ]);
  const source = new Upstream(parseUpstream(await writeBinaryCache(await tempDir(), files)), { http });
  const destination = new MemoryStore();
  const events: CopyEvent[] = [];
  await copyUpstream({
    ...{ source, destination, keys, storeDir: '/nix/store', paths: undefined, trustedKeys: [], jobs: 3, dryRun: false },
    reader: await IndexReader.open({ store: destination, strict: true }),
    ...{ creator: 'test', run: 'run-1', onEvent: (event) => events.push(event), now: () => day(1) },
  });
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  expect(warnings).toEqual(told.map((start) => expect.stringContaining(`${start}, and none is made without a key`)));
});
