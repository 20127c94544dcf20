/** The table of secrets in docs/threat-model.md: each cell that says no has a test, which is named here. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** A file in test/, and the title of a test in it. */
type Where = readonly [file: string, title: string];

const BLOCK: Where = [
  'integration/e2e-launcher.test.ts',
  'are in none that other programs can read, while a command runs',
];
const NIX: Where = ['child-environment.test.ts', '%s, and git below it: Nix’s own and what its hooks need'];
const HELPER: Where = [
  'child-environment.test.ts',
  'a credential helper: the user’s session and clouds, nothing of ours, of GitHub or of Nix',
];
const ANCESTORS: Where = [
  'integration/e2e-launcher.test.ts',
  "are in none of those that a build can read, also under the machine's own Node",
];
const SAID: Where = ['integration/e2e-secrets.test.ts', 'is spoken of without them'];
const CACHE: Where = [
  'integration/e2e-secrets.test.ts',
  'is named without them in the cache, which no file of has them',
];
const STORE: Where = [
  'integration/e2e-secrets.test.ts',
  'leaves them in no file of the store, which everyone can read',
];

const ELSEWHERE: Where = [
  'integration/e2e-secrets.test.ts',
  'reaches no other origin, and of the key and what is for a cloud nothing reaches any',
];

/** By the beginning of a row, in the order of the columns. */
const TESTS: Readonly<Record<string, readonly (readonly Where[])[]>> = {
  'our own environment block': [[BLOCK], [BLOCK], [BLOCK], [BLOCK], [BLOCK]],
  'environment of Nix': [[NIX], [NIX], [NIX], [NIX], [NIX]],
  'environment of docker': [[HELPER], [HELPER], [HELPER], [HELPER], [HELPER]],
  'command lines': [
    [ANCESTORS],
    [ANCESTORS],
    [ANCESTORS],
    [
      ANCESTORS,
      [
        'nix-store/nix-command.test.ts',
        'hands over what may be secret in NIX_CONFIG, after what is there, and nothing of it in the arguments',
      ],
    ],
    [ANCESTORS],
  ],
  logs: [
    [SAID, ['cli/ui/output.test.ts', 'that is a key is not written without its name']],
    [SAID, ['cli/echoed-secrets.test.ts', 'is shown in no form with %s %s']],
    [SAID, ['github/packages-deleter.test.ts', 'never with the token in it, nor in the errors below']],
    [SAID, ['integration/e2e-secrets.test.ts', 'is not in what is said of: %s …']],
    [SAID],
  ],
  'the cache and the Nix store': [
    [CACHE, STORE, ['integration/e2e-secrets.test.ts', 'stops publish and discover before Nix has copied it']],
    [CACHE, STORE],
    [CACHE, STORE],
    [CACHE, STORE],
    [CACHE, STORE],
  ],
  'another origin': [
    [ELSEWHERE],
    [['oci/remote/fetch-blob.test.ts', 'never lets a credential reach another origin']],
    [['github/packages-deleter.test.ts', 'does not follow a page to another host with the token']],
    [['upstream/http-source.test.ts', 'elsewhere is asked for there, without the login of the cache']],
    [ELSEWHERE],
  ],
};

const section =
  readFileSync(pathOf('../docs/threat-model.md'), 'utf8').split('\n## Secrets, and where each may be\n')[1] ?? '';
const rows = (section.split('\n## ')[0] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) =>
    line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim()),
  );

test('each row that says where a secret may not be has a test for every secret', () => {
  const [columns = [], , ...places] = rows;
  const denying = places.filter(([, ...cells]) => !cells.every((cell) => cell.startsWith('yes')));
  expect(denying.map(([place = '']) => Object.keys(TESTS).filter((name) => place.startsWith(name)).length)).toEqual(
    Object.keys(TESTS).map(() => 1),
  );
  for (const tests of Object.values(TESTS)) expect(tests).toHaveLength(columns.length - 1);
});

test('every test that is named is there', () => {
  const named = Object.values(TESTS).flatMap((cells) => cells.flat());
  const absent = named.filter(([file, title]) => {
    const text = readFileSync(pathOf(file), 'utf8');
    return ![`'${title}'`, `"${title}"`].some((quoted) => text.includes(quoted));
  });
  expect(absent).toEqual([]);
});
