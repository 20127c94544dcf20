/** The command line beside a Nix of its own, in a flake with an output that builds, one that fails and one that is broken. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createNixEnv, type NixEnv } from '../../support/nix-env.ts';
import { type CliResult, runCli } from '../run-cli.ts';

export const FLAKE = `{
  outputs = { self }: let
    make = name: script: derivation { inherit name; system = builtins.currentSystem or "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ]; };
    outputs = {
      good = make "good-1" "echo good > $out";
      bad = make "bad-1" "echo oh no; exit 1";
      broken = throw "broken on purpose";
    };
  in { packages = { x86_64-linux = outputs; aarch64-linux = outputs; }; };
}`;

export interface NixCli {
  readonly nix: NixEnv;
  /** Where commands run. */
  readonly flake: string;
  run(args: readonly string[], env?: Readonly<Record<string, string>>, input?: string): Promise<CliResult>;
}

export async function openNixCli(): Promise<NixCli> {
  const nix = await createNixEnv();
  const flake = join(nix.dir, 'flake');
  await mkdir(flake);
  await writeFile(join(flake, 'flake.nix'), FLAKE);
  const run: NixCli['run'] = (args, env = {}, input = undefined) =>
    runCli(args, { cwd: flake, env: { ...nix.env, ...env }, ...(input === undefined ? {} : { input }) });
  return { nix, flake, run };
}
