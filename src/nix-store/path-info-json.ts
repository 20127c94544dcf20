/**
 * What `nix path-info --json` prints, in all its shapes.
 *
 * Up to 2.18 an array of objects with `path`, absent data left out, an invalid path as `"valid": false`. From 2.19 a
 * map from path to object, an invalid path as null, absent data null from 2.23 on. From 2.33 the same map under the
 * name `--json-format 1`; its other formats we never ask for.
 */
import * as z from 'zod/mini';
import { NixcacheError } from '../errors.ts';
import { parseHash } from '../nix/hash.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { isSignature } from '../nix/signature.ts';
import { type BaseName, baseNameOf, parseStorePath } from '../nix/store-path.ts';

const Info = z.object({
  path: z.optional(z.string()),
  valid: z.optional(z.boolean()),
  narHash: z.optional(z.string()),
  narSize: z.optional(z.number()),
  references: z.optional(z.array(z.string())),
  deriver: z.optional(z.nullable(z.string())),
  signatures: z.optional(z.nullable(z.array(z.string()))),
  ca: z.optional(z.nullable(z.string())),
});
const Shapes = z.union([z.array(Info), z.record(z.string(), z.nullable(Info))]);

/**
 * The valid ones among the paths asked for, in the order of the answer.
 *
 * @throws {NixcacheError} ERR_NIX on another shape, ERR_FORMAT on paths or hashes that Nix could not have
 */
export function parsePathInfoJson(json: unknown, storeDir: string): readonly PathInfo[] {
  const parsed = Shapes.safeParse(json);
  if (!parsed.success) {
    const why = z.prettifyError(parsed.error).split('\n', 1)[0];
    throw new NixcacheError('ERR_NIX', `nix path-info --json has an unknown shape (${why})`, { cause: parsed.error });
  }
  const rows = Array.isArray(parsed.data)
    ? parsed.data.map((info) => [info.path ?? '', info] as const)
    : Object.entries(parsed.data);
  return rows.flatMap(([path, info]) =>
    info === null || info.valid === false ? [] : [toPathInfo(path, info, storeDir)],
  );
}

function toPathInfo(path: string, info: z.infer<typeof Info>, storeDir: string): PathInfo {
  if (info.narHash === undefined || info.narSize === undefined || info.references === undefined) {
    throw new NixcacheError('ERR_NIX', `nix path-info gives no narHash, narSize or references for ${path}`);
  }
  return {
    path: parseStorePath(path, storeDir),
    narHash: parseHash(info.narHash),
    narSize: info.narSize,
    references: info.references.map((reference) => toBaseName(reference, storeDir)).sort(),
    ...(typeof info.deriver === 'string' && isKnown(info.deriver) && { deriver: toBaseName(info.deriver, storeDir) }),
    // Nix before 2.34 lets anything into its database, and later ones then refuse the path.
    sigs: (info.signatures ?? []).filter(isSignature),
    ...(typeof info.ca === 'string' && info.ca !== '' && { ca: info.ca }),
  };
}

const toBaseName = (path: string, storeDir: string): BaseName => baseNameOf(parseStorePath(path, storeDir));
const isKnown = (deriver: string): boolean => deriver !== '' && deriver !== 'unknown-deriver';
