import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';

test('the example configuration is one that is accepted', async () => {
  const file = fileURLToPath(new URL('../../config/nixcache.toml', import.meta.url));
  const { settings } = await loadConfig({ file, cwd: '/', env: {} });
  expect(settings).toMatchObject({ retain: '30d', serve: { port: 37_515 } });
});
