/** What the command line serves of a large NAR that was damaged where it lies. */
import { open } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hexOf } from '../../../../src/oci/digest.ts';
import { LayoutStore } from '../../../../src/oci/layout/layout-store.ts';
import { CacheBuilder, hashPartFor, openReader } from '../../../support/cache-builder.ts';
import { tempDir } from '../../../support/temp-dir.ts';
import { startCli } from '../../run-cli.ts';

const MIB = 1024 * 1024;

/** All bytes of an answer that came, and whether it ended as it should. */
async function ask(url: string): Promise<{ status: number | undefined; bytes: Buffer; isWhole: boolean }> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => get(url, resolve).once('error', reject));
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of answer) chunks.push(chunk);
  } catch {
    // Cut off.
  }
  return { status: answer.statusCode, bytes: Buffer.concat(chunks), isWhole: answer.complete };
}

it('sends no byte of a damaged piece of a large NAR', async () => {
  const home = await tempDir();
  const store = await LayoutStore.open(join(home, 'cache'), { create: true });
  await new CacheBuilder(store).publish({
    at: new Date(),
    paths: [{ name: 'large', bytes: 3.5 * MIB, pieces: true }],
    packed: false,
  });
  const entry = (await openReader(store)).findEntry(hashPartFor('large'));
  const [extent] = entry?.nar ?? [];
  if (entry === undefined || extent === undefined) throw new Error('large is not there');
  const { url: narUrl, fileSize } = entry.narInfo;
  const env = { HOME: home, NIXCACHE_CACHE: `oci:${join(home, 'cache')}`, NIXCACHE_UPSTREAM: 'none' };
  await using server = await startCli(['serve', '--port', '0', '--json'], { cwd: home, env });
  const { url } = JSON.parse(server.firstLine);

  const right = await ask(`${url}/${narUrl}`);
  expect([right.status, right.bytes.length, right.isWhole]).toEqual([200, fileSize, true]);
  await using blob = await open(join(home, 'cache', 'blobs', 'sha256', hexOf(extent.digest)), 'r+');
  const last = right.bytes.subarray(-1000, -999);
  await blob.write(Buffer.from([(last[0] ?? 0) ^ 1]), 0, 1, fileSize - 1000);

  const wrong = await ask(`${url}/${narUrl}`);
  expect([wrong.status, wrong.isWhole]).toEqual([200, false]);
  expect(wrong.bytes.equals(right.bytes.subarray(0, wrong.bytes.length))).toBe(true);
  expect(wrong.bytes.length).toBeLessThanOrEqual(3 * MIB);
  expect((await ask(`${url}/${hashPartFor('large')}.narinfo`)).status).toBe(404);
  expect((await ask(`${url}/${narUrl}`)).status).toBe(404);
});
