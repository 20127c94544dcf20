import { expect, it } from 'vitest';
import { NarPool } from '../../src/nar/nar-pool.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { tempDir } from '../support/temp-dir.ts';

it('refuses work once it is closed', async () => {
  const paths = new LocalPaths(await tempDir());
  const { path, narHash, narSize } = await paths.add('late', { f: 'late' });
  const pool = new NarPool(1);
  await pool.close();
  const job = {
    ...{
      contentPath: paths.contentPath(path),
      storePath: path,
      narHash,
      narSize,
      compression: { method: 'zstd' } as const,
    },
    ...{ spoolDirectory: paths.directory, maxInlineBytes: 1000, partBytes: 1000 },
  };
  await expect(pool.run(job, () => undefined)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
});
