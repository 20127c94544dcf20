/** Store paths that exist as files in a temporary directory, for tests that need no Nix. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NarWriter } from '../../src/nar/nar-writer.ts';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { type BaseName, baseNameOf, parseBaseName, type StorePath, toStorePath } from '../../src/nix/store-path.ts';

export class LocalPaths {
  readonly directory: string;
  readonly infos: PathInfo[] = [];

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Adds `<hash of the name>-<name>` with `files` by relative path; references are to paths added before, or itself. */
  async add(
    name: string,
    files: Readonly<Record<string, string | Buffer>>,
    references: readonly PathInfo[] = [],
  ): Promise<PathInfo> {
    const hash = createHash('sha256').update(name).digest().subarray(0, 20);
    const baseName = parseBaseName(`${encode(hash)}-${name}`);
    const root = join(this.directory, baseName);
    await mkdir(root, { recursive: true });
    for (const [file, contents] of Object.entries(files)) {
      await mkdir(dirname(join(root, file)), { recursive: true });
      await writeFile(join(root, file), contents);
    }
    const info = { path: toStorePath(baseName), ...this.#measure(root), references: sorted(references), sigs: [] };
    this.infos.push(info);
    return info;
  }

  contentPath(path: StorePath | BaseName): string {
    return join(this.directory, baseNameOf(path as StorePath));
  }

  #measure(root: string): Pick<PathInfo, 'narHash' | 'narSize'> {
    const nar = new NarWriter(root);
    const hash = createHash('sha256');
    for (const chunk of nar) hash.update(chunk);
    return { narHash: hashFromBytes(hash.digest()), narSize: nar.narSize };
  }
}

const sorted = (infos: readonly PathInfo[]): BaseName[] => infos.map(({ path }) => baseNameOf(path)).sort();
