/**
 * A publisher that never ends by itself, for layout-store.test.ts: PATH NAME. It writes blobs, manifests over them and
 * a shared tag, and says each tag on a line once the store has acknowledged it.
 */
import { LayoutStore } from '../../../src/oci/layout/layout-store.ts';
import { encodeManifest, IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { describeBytes, noise, opener } from '../../support/bytes.ts';

const [path = '', name = ''] = process.argv.slice(2);
const store = await LayoutStore.open(path, { create: true });

for (let at = 0; ; at += 1) {
  const layers = [noise(20_000, `${name} ${at}`), noise(300, `shared ${at % 3}`)];
  const config = Buffer.from(JSON.stringify({ name, at }));
  for (const bytes of [...layers, config]) await store.pushBlob(describeBytes(bytes), opener(bytes, 4000));
  const bytes = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    config: describeBytes(config),
    layers: layers.map(describeBytes),
  });
  await Promise.all([`${name}-${at}`, 'shared'].map((tag) => store.pushManifest(tag, IMAGE_MANIFEST, bytes)));
  process.stdout.write(`${name}-${at}\n`);
}
