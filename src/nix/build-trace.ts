/**
 * Entries of the build trace: which store path an output of a content-addressed derivation turned out to be, by the name of
 * the derivation. A binary cache has each at `/build-trace-v2/<base name of the derivation>/<output>.doi` for Nix since 2.35;
 * earlier ones ask for a `Realisation`. Source: NixOS/nix src/libstore/realisation.cc, tests' data/realisation/*-fingerprint.txt.
 */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../bounded-json.ts';
import { NixcacheError } from '../errors.ts';
import { type PublicKey, verifiesText } from './signature.ts';
import { type BaseName, isBaseName } from './store-path.ts';

export interface BuildTraceKey {
  readonly drvPath: BaseName;
  readonly outputName: string;
}

export interface BuildTraceEntry extends BuildTraceKey {
  readonly outPath: BaseName;
  /** `keyName:base64`. */
  readonly signatures: readonly string[];
}

const OUTPUT_NAME = /^[0-9A-Za-z+\-._?=]{1,211}$/;

/** The key that `<drv>/<output>` stands for; undefined where no derivation is called so. */
export function parseBuildTraceKey(text: string): BuildTraceKey | undefined {
  const [drvPath = '', outputName = '', ...rest] = text.split('/');
  const isKey = isBaseName(drvPath) && drvPath.endsWith('.drv') && OUTPUT_NAME.test(outputName) && rest.length === 0;
  return isKey ? { drvPath, outputName } : undefined;
}

const signatureSchema = z.union([
  z.string(),
  z.pipe(
    z.object({ keyName: z.string(), sig: z.string() }),
    z.transform(({ keyName, sig }) => `${keyName}:${sig}`),
  ),
]);
const valueSchema = z.object({
  outPath: z.custom<BaseName>((value) => typeof value === 'string' && isBaseName(value)),
  signatures: z._default(z.array(signatureSchema), []),
});

/** Far above what any output has. */
const MAX_VALUES = 1000;

/** The entry of `key` that a cache has as `json`. @throws {NixcacheError} ERR_FORMAT */
export function parseBuildTraceEntry(json: string, key: BuildTraceKey): BuildTraceEntry {
  try {
    return { ...key, ...z.parse(valueSchema, parseBoundedJson(json, { maxValues: MAX_VALUES, maxDepth: 4 })) };
  } catch (cause) {
    const what = `it is no entry of the build trace for ${key.drvPath}`;
    throw new NixcacheError('ERR_FORMAT', what, { cause });
  }
}

/** As a cache has it: without the key, which its path says. */
export function formatBuildTraceEntry({ outPath, signatures }: BuildTraceEntry): string {
  const split = signatures.map((text) => {
    const colon = text.indexOf(':');
    return { keyName: text.slice(0, colon), sig: text.slice(colon + 1) };
  });
  return JSON.stringify({ outPath, signatures: split });
}

/** What a signature covers. */
export const buildTraceFingerprint = ({ drvPath, outputName, outPath }: BuildTraceEntry): string =>
  JSON.stringify({ key: { drvPath, outputName }, value: { outPath } });

/** Whether one of `keys` signed it. */
export const isBuildTraceSigned = (entry: BuildTraceEntry, keys: readonly PublicKey[]): boolean =>
  verifiesText(buildTraceFingerprint(entry), entry.signatures, keys);
