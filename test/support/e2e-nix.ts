/** What the end-to-end tests ask of Nix, and the flakes that they publish. */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { createNixClient, type NixEnv, type NixEnvOptions } from './nix-env.ts';

/** The example flake of this project. */
export const EXAMPLE = fileURLToPath(new URL('../../config', import.meta.url));

/** A copy of the example flake in `directory`, each of `edits` appended to the file that it names. */
export async function copyExample(directory: string, edits: Readonly<Record<string, string>> = {}): Promise<string> {
  await mkdir(directory, { recursive: true });
  await cp(join(EXAMPLE, 'flake.nix'), join(directory, 'flake.nix'));
  await cp(join(EXAMPLE, 'src'), join(directory, 'src'), { recursive: true });
  for (const [file, text] of Object.entries(edits)) {
    await writeFile(join(directory, file), (await readFile(join(directory, file), 'utf8')) + text);
  }
  return directory;
}

/** A flake whose packages are what `packages`, an attribute set in Nix, says; `run name script` makes one. */
export async function writeFlake(directory: string, packages: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  const flake = `{
  outputs = { self }: {
    packages.x86_64-linux = let
      run = name: script: derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/usr/bin:/bin";
      };
    in ${packages};
  };
}
`;
  await writeFile(join(directory, 'flake.nix'), flake);
  return directory;
}

/** stdout of a program of Nix; throws when it fails, with its stderr in the message. */
export async function runNix({ env }: Pick<NixEnv, 'env'>, program: string, ...args: string[]): Promise<string> {
  return (await execa(program, args, { env, extendEnv: false, cwd: '/', timeout: 120_000 })).stdout;
}

export const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/** Every store path below the store directory, valid or not. */
export async function storeContents({ realStoreDir, storeDir }: NixEnv): Promise<string[]> {
  const names = await readdir(realStoreDir).catch(() => [] as string[]);
  return names
    .filter((name) => /^[0-9a-z]{32}-[^/]*$/.test(name) && !name.endsWith('.lock'))
    .map((name) => `${storeDir}/${name}`);
}

/** Runs `act` with a Nix that has an empty store, and takes from `url` what one of `publicKeys` signed. */
export async function withClient<T>(
  url: string,
  publicKeys: readonly string[],
  act: (client: NixEnv) => Promise<T>,
  options: NixEnvOptions = {},
): Promise<T> {
  const client = await createNixClient({ ...options, substituters: [url], publicKeys });
  try {
    return await act(client);
  } finally {
    await client.cleanup();
  }
}

/** Substitutes `paths` into an empty store, and has Nix check signatures and contents. Gives the closure. */
export function substitute(
  url: string,
  publicKeys: readonly string[],
  paths: readonly string[],
  options: NixEnvOptions = {},
): Promise<readonly string[]> {
  return withClient(
    url,
    publicKeys,
    async (client) => {
      await runNix(client, 'nix-store', '--realise', ...paths);
      const closure = lines(await runNix(client, 'nix-store', '--query', '--requisites', ...paths));
      await runNix(client, 'nix', 'store', 'verify', '--recursive', ...paths);
      return closure.sort();
    },
    options,
  );
}

/** What `publish --json` and `push --json` print, as far as tests read it. */
export interface PublishJson {
  readonly push: { readonly paths: readonly string[]; readonly narBytes: number };
  readonly cached: { readonly paths: readonly string[] };
  readonly upstream: { readonly paths: readonly string[] };
  readonly excluded: readonly {
    readonly path: string;
    readonly reason: string;
    readonly dependents: readonly string[];
  }[];
  readonly unknown: readonly string[];
  readonly pushed?: readonly string[];
  readonly uploadedBytes?: number;
  readonly segments?: readonly string[];
  readonly outputs: readonly {
    readonly attrPath: string;
    readonly status: string;
    readonly outputs: Readonly<Record<string, string>>;
    readonly error?: string;
  }[];
  readonly evaluationFailures: readonly { readonly attrPath: string; readonly error: string }[];
}

export const readJson = (text: string): PublishJson => JSON.parse(text) as PublishJson;
