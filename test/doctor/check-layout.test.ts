import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkLayout } from '../../src/doctor/check-layout.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { tempDir } from '../support/temp-dir.ts';

describe('the doctor, of a cache on disk', () => {
  it('tells a layout that is there from one that is not', async () => {
    const path = await tempDir();
    const reference = { kind: 'layout', path } as const;
    expect(await checkLayout(reference)).toMatchObject({
      withoutIndex: 'nothing was published yet',
      findings: [{ verdict: 'warning' }],
    });
    await mkdir(join(path, 'cache'));
    await LayoutStore.open(join(path, 'cache'), { create: true });
    const found = await checkLayout({ kind: 'layout', path: join(path, 'cache') });
    expect(found).toMatchObject({
      withoutIndex: undefined,
      findings: [
        { check: 'pull', verdict: 'ok' },
        { check: 'push', verdict: 'ok' },
      ],
    });
  });

  it.each([
    ['a directory of other things', 'other', 'a directory with other things in it'],
    ['a file', 'other/file', 'is no directory'],
    ['below a file', 'other/file/cache', 'is no directory'],
  ])('does not advise to publish into what publish would refuse: %s', async (_, place, why) => {
    const path = await tempDir();
    await mkdir(join(path, 'other'));
    await writeFile(join(path, 'other/file'), 'x');
    const { findings } = await checkLayout({ kind: 'layout', path: join(path, place) });
    expect(findings).toMatchObject([{ check: 'pull', verdict: 'problem', message: expect.stringContaining(why) }]);
    expect(findings[0]?.fix).not.toContain('nixcache publish');
  });
});
