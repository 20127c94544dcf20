import { link, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';

const indexSchema = z.object({
  manifests: z.array(z.object({ digest: z.string(), annotations: z.record(z.string(), z.string()) })),
});

/**
 * Puts a layout's content into the storage of a docker-registry that is not running, as repository `name`, as if it had
 * been pushed. Blobs are hard links: neither program ever changes one.
 *
 * Source: distribution/distribution v2.8.2 registry/storage/paths.go
 */
export async function fillRegistry(storageDir: string, layout: string, name: string): Promise<void> {
  const root = join(storageDir, 'docker', 'registry', 'v2');
  const repository = join(root, 'repositories', name);
  const writeLink = async (directory: string, digest: string): Promise<void> => {
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'link'), digest);
  };
  const blobs = join(layout, 'blobs', 'sha256');
  for (const hex of await readdir(blobs)) {
    const directory = join(root, 'blobs', 'sha256', hex.slice(0, 2), hex);
    await mkdir(directory, { recursive: true });
    await link(join(blobs, hex), join(directory, 'data'));
    await writeLink(join(repository, '_layers', 'sha256', hex), `sha256:${hex}`);
  }
  const { manifests } = indexSchema.parse(JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')));
  for (const { digest, annotations } of manifests) {
    const tag = annotations['org.opencontainers.image.ref.name'];
    if (tag === undefined) continue;
    const hex = digest.slice('sha256:'.length);
    const tagDirectory = join(repository, '_manifests', 'tags', tag);
    await writeLink(join(repository, '_manifests', 'revisions', 'sha256', hex), digest);
    await writeLink(join(tagDirectory, 'current'), digest);
    await writeLink(join(tagDirectory, 'index', 'sha256', hex), digest);
  }
}
