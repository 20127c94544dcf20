import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { type Coin, tossed } from '../model/coin.ts';
import { age, newLayout } from '../oci/layout/layouts.ts';
import { readAll } from '../support/bytes.ts';

const CHILD = fileURLToPath(new URL('../oci/layout/layout-store.child.ts', import.meta.url));

describe('writers that are killed', () => {
  it('leave a whole layout with every tag that was acknowledged', async () => {
    const { path } = await newLayout();
    const acknowledged: string[] = [];
    const coin = tossed();
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(['a', 'b'].map((name) => runAndKill(path, { name: `${name}${round}`, acknowledged, coin })));
      await expectWhole(path, acknowledged);
    }
    expect(acknowledged.length).toBeGreaterThanOrEqual(20);
    await age(join(path, '.ingest'));
    const store = await LayoutStore.open(path, { create: true });
    await store.sweep({ graceSeconds: 0 });
    expect(await readdir(join(path, '.ingest'))).toEqual([]);
    await expectWhole(path, acknowledged);
  });
});

interface Victim {
  readonly name: string;
  /** Gets the tags that it says. */
  readonly acknowledged: string[];
  readonly coin: Coin;
}

/** Kills it after some tags, at whatever it is then. */
async function runAndKill(path: string, { name, acknowledged, coin }: Victim): Promise<void> {
  const child = execa(process.execPath, [CHILD, path, name], { reject: false });
  let left = 1 + coin.next(12);
  for await (const tag of child.iterable()) {
    acknowledged.push(tag);
    left -= 1;
    if (left === 0) child.kill('SIGKILL');
  }
  const { isTerminated, stderr } = await child;
  expect({ isTerminated, stderr }).toEqual({ isTerminated: true, stderr: '' });
}

async function expectWhole(path: string, acknowledged: readonly string[]): Promise<void> {
  const store = await LayoutStore.open(path, { create: false });
  const tags = new Set(await store.listTags());
  expect(acknowledged.filter((tag) => !tags.has(tag))).toEqual([]);
  for (const tag of tags) {
    const manifest = await store.fetchManifest(tag);
    const { config, layers } = decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), tag);
    for (const blob of [config, ...layers]) await readAll(await store.fetchBlob(blob));
  }
}
