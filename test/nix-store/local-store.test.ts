import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseStorePath } from '../../src/nix/store-path.ts';
import { askAhead, openLocalStore, usualStoreDir } from '../../src/nix-store/local-store.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { tempDir } from '../support/temp-dir.ts';

const PATH = parseStorePath(`/nix/store/${'0'.repeat(32)}-a`);
const INFO = { narHash: `sha256-${'A'.repeat(43)}=`, narSize: 120, references: [], deriver: null, signatures: [] };
const FORMAT_1 = JSON.stringify({ [PATH]: INFO });
const FORMAT_2 = JSON.stringify({ info: { [`${'0'.repeat(32)}-a`]: INFO }, storeDir: '/nix/store', version: 2 });

/** A far side that is played: `pathInfo` is a shell command for `nix path-info`. */
async function playing(version: string, pathInfo: string) {
  const dir = await tempDir();
  mkdirSync(join(dir, 'bin'));
  const script = `#!/bin/sh
echo "$*" | sed 's/.*flakes //' >> ${dir}/calls
case "$*" in
  *--version*) echo 'nix (Nix) ${version}';;
  *show-config*) echo '{}';;
  *path-info*) ${pathInfo};;
esac`;
  writeFileSync(join(dir, 'bin/nix'), script);
  writeFileSync(join(dir, 'bin/nix-store'), '#!/bin/sh\n');
  for (const name of ['nix', 'nix-store']) chmodSync(join(dir, 'bin', name), 0o755);
  const command = new NixCommand({ env: { PATH: [join(dir, 'bin'), '/usr/bin', '/bin'].join(delimiter) }, cwd: dir });
  const calls = (): readonly string[] => readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n').sort();
  return { command, calls };
}

describe('the infos of a closure', () => {
  it('take one process, and none to ask which Nix it is', async () => {
    const { command, calls } = await playing('2.8.0', `echo '${FORMAT_1}'`);
    const store = await openLocalStore({ command });
    expect(await store.queryClosure([PATH])).toMatchObject([{ path: PATH, narSize: 120 }]);
    expect(calls()).toEqual([`path-info --json --offline --recursive ${PATH}`, 'show-config --json']);
  });

  it.each([
    ['refuses --json without a format', 'echo "error: no --json-format" >&2; exit 1'],
    ['means another format without one', `echo '${FORMAT_2}'`],
  ])('are asked for in their first format where Nix %s', async (_, otherwise) => {
    const { command } = await playing(
      '2.40.1',
      `case "$*" in *'--json-format 1'*) echo '${FORMAT_1}';; *) ${otherwise};; esac`,
    );
    const store = await openLocalStore({ command });
    expect(await store.queryClosure([PATH])).toMatchObject([{ path: PATH, narSize: 120 }]);
  });

  it('are not asked for again of a Nix that knows no formats', async () => {
    const { command, calls } = await playing('2.26.3', 'echo "error: it broke" >&2; exit 1');
    const store = await openLocalStore({ command });
    await expect(store.queryClosure([PATH])).rejects.toMatchObject({ code: 'ERR_NIX', summary: 'it broke' });
    expect(calls().filter((call) => call.startsWith('path-info'))).toHaveLength(1);
  });

  it('may be asked for ahead: once, for one question', async () => {
    const { command, calls } = await playing('2.8.0', `echo '${FORMAT_1}'`);
    askAhead(command, [PATH]);
    const store = await openLocalStore({ command });
    await store.queryClosure([PATH]);
    expect(calls()).toEqual([`path-info --json --offline --recursive ${PATH}`, 'show-config --json']);
    await store.queryClosure([PATH]);
    expect(calls()).toHaveLength(3);
  });

  it('have the error of a question ahead, when they are asked for', async () => {
    const { command } = await playing('2.8.0', 'echo "error: it broke" >&2; exit 1');
    askAhead(command, [PATH]);
    const store = await openLocalStore({ command });
    await expect(store.queryClosure([PATH])).rejects.toMatchObject({ code: 'ERR_NIX', summary: 'it broke' });
  });
});

it('goes by the store directory of the environment, until Nix tells its own', () => {
  const at = (env: Record<string, string>): string => usualStoreDir(new NixCommand({ env }));
  expect(at({})).toBe('/nix/store');
  expect(at({ NIX_STORE_DIR: '/other/store' })).toBe('/other/store');
});
