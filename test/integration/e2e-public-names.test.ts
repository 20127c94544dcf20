/** What is public stays readable, whatever else of it is secret: the names of keys, and names that are passwords too. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { nixcache } from '../support/e2e-cli.ts';
import { readJson } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const FLAKE = `{ outputs = { self }: { packages.x86_64-linux.hello = derivation {
  name = "walk-hello-1.0"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ];
}; }; }`;

let nix: NixEnv;
let flake: string;
beforeAll(async () => {
  nix = await createNixEnv();
  flake = join(nix.dir, 'flake');
  await mkdir(flake);
  await writeFile(join(flake, 'flake.nix'), FLAKE);
});
afterAll(() => nix.cleanup());

describe.each(['example.org-123', 'example.org-1234', 'a.very-long.name.example.org-1'])('a key called %s', (name) => {
  it('is named whole by publish, list and doctor', async () => {
    const key = generateKey(name);
    const cache = `oci:${join(nix.dir, `${name}-cache`)}`;
    const files = { GITHUB_OUTPUT: join(nix.dir, `${name}-o`), GITHUB_STEP_SUMMARY: join(nix.dir, `${name}-s`) };
    const env = { ...nix.env, ...files, NIX_SIGNING_KEY: key.secret };
    const published = await nixcache(['publish', flake, '--to', cache, '--no-upstream', '--json'], { env });
    expect(published.exitCode, published.stderr).toBe(0);
    expect(readJson(published.stdout)).toMatchObject({ cache, publicKeys: [key.public] });
    expect(await readFile(files.GITHUB_OUTPUT, 'utf8')).toContain(`\n${key.public}\n`);
    expect(await readFile(files.GITHUB_STEP_SUMMARY, 'utf8')).toContain(`extra-trusted-public-keys = ${key.public}`);
    const listed = await nixcache(['list', '--cache', cache], { env });
    expect(listed.stdout).toMatch(new RegExp(`signed by +${name} `));
    const examined = await nixcache(['doctor', '--cache', cache, '--no-upstream'], { env });
    expect(examined.stdout).toContain(name);
    const shown = [published, listed, examined].map(({ stdout, stderr }) => stdout + stderr).join('');
    expect(shown).not.toContain('***');
    expect(shown).not.toContain(key.secret.slice(-60));
  });
});

it.each(['x86_64-linux', 'ubuntu', 'walk'])(
  'a matrix and a list of outputs stay whole with the password %s',
  async (password) => {
    const run = async (...args: string[]) => {
      const more = {
        NIXCACHE_USERNAME: 'ci',
        NIXCACHE_PASSWORD: password,
        GITHUB_OUTPUT: join(nix.dir, `${password}-o`),
      };
      const { exitCode, stdout } = await nixcache(['discover', flake, ...args], { env: { ...nix.env, ...more } });
      expect(exitCode).toBe(0);
      return stdout;
    };
    const { include } = JSON.parse(await run('--matrix')) as { readonly include: readonly object[] };
    expect(include).toMatchObject([{ system: 'x86_64-linux', runner: 'ubuntu-latest' }]);
    expect(await readFile(join(nix.dir, `${password}-o`), 'utf8')).toContain('"runner":"ubuntu-latest"');
    expect(await run('--json')).toContain('-walk-hello-1.0');
  },
);
