import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { configKeys, loadConfig, parseConfig } from '../../src/config/load.ts';

const file = fileURLToPath(new URL('../../config/nixcache.toml', import.meta.url));

test('the example configuration is one that is accepted', async () => {
  const { settings } = await loadConfig({ file, cwd: '/', env: {} });
  expect(settings).toMatchObject({ retain: '30d', serve: { port: 37_515 } });
});

test('the example configuration shows every key there is, and no other, with values that are accepted', async () => {
  const shown = new Map<string, string>();
  let table = '';
  for (const line of (await readFile(file, 'utf8')).split('\n')) {
    const [, heading] = /^(?:# )?\[+([a-z.]+)\]+$/.exec(line) ?? [];
    table = heading ?? table;
    const [, key, value] = /^(?:# )?([a-z_]+) = ("[^"]*"|\[[^\]]*\]|\w+)(?: +#.*)?$/.exec(line) ?? [];
    if (key !== undefined) shown.set(table === '' ? key : `${table}.${key}`, value ?? '');
  }
  // In place of the tables, and so beside them in words only.
  expect(await readFile(file, 'utf8')).toContain('upstreams = [');
  expect([...shown.keys()].sort()).toEqual([...configKeys()].filter((key) => key !== 'upstreams').sort());
  for (const [key, value] of shown) {
    const [, name = '', inner] = /^(?:(.*)\.)?(.*)$/.exec(key) ?? [];
    const lists: Record<string, string> = { upstream: inner === 'url' ? '' : 'url = "https://x"\n', 'serve.cache': '' };
    const list = lists[name];
    const heading = name === '' ? '' : list === undefined ? `[${name}]\n` : `[[${name}]]\n${list}`;
    const text = `${heading}${inner} = ${value}`;
    await expect(parseConfig(text, 'x.toml'), text).resolves.toMatchObject({ file: 'x.toml' });
  }
});
