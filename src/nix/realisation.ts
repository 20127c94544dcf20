/**
 * Realisations: which store path an output of a content-addressed derivation turned out to be (experimental feature
 * `ca-derivations`). A binary cache has each at `/realisations/<id>.doi`, as JSON. Source: NixOS/nix
 * src/libstore/realisation.cc up to 2.34; from 2.35 on clients ask for `/build-trace-v2/…`, by the name of the derivation.
 */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../bounded-json.ts';
import { NixcacheError } from '../errors.ts';
import { type PublicKey, type SecretKey, signText, verifiesText } from './signature.ts';
import { type BaseName, isBaseName } from './store-path.ts';

export interface Realisation {
  /** `sha256:<hex>!<output>`: the hash of the derivation, modulo those of fixed outputs, and the name of the output. */
  readonly id: string;
  /** What the output is. */
  readonly outPath: BaseName;
  /** Other realisations that it relies on, by id; none since Nix 2.34. */
  readonly dependentRealisations: Readonly<Record<string, BaseName>>;
  /** `keyName:base64`. */
  readonly signatures: readonly string[];
}

const ID = /^sha256:[0-9a-f]{64}![0-9A-Za-z+\-._?=]{1,211}$/;

export const isRealisationId = (text: string): boolean => ID.test(text);

/** The output's name in the id of a realisation. */
export const outputOfId = (id: string): string => id.slice(id.indexOf('!') + 1);

const idSchema = z.string().check(z.regex(ID));
const baseNameSchema = z.custom<BaseName>((value) => typeof value === 'string' && isBaseName(value));
const realisationSchema = z.object({
  id: idSchema,
  outPath: baseNameSchema,
  dependentRealisations: z._default(z.record(idSchema, baseNameSchema), {}),
  signatures: z._default(z.array(z.string()), []),
});
const listSchema = z.array(realisationSchema);

/** Far above what any path has: of each derivation that came out as it there is one. */
const MAX_VALUES = 20_000;

/** A list of realisations as JSON, each as Nix writes it; undefined when it is not that. */
export function parseRealisations(json: string): readonly Realisation[] | undefined {
  try {
    const parsed = listSchema.safeParse(parseBoundedJson(json, { maxValues: MAX_VALUES, maxDepth: 4 }));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** One realisation as Nix writes it, of `id`. @throws {NixcacheError} ERR_FORMAT */
export function parseRealisation(json: string, id: string): Realisation {
  const [realisation] = parseRealisations(`[${json}]`) ?? [];
  if (realisation?.id === id) return realisation;
  throw new NixcacheError('ERR_FORMAT', `it is no realisation of ${id}`);
}

/** As Nix writes it: names in order, no blanks. */
export const formatRealisation = (realisation: Realisation): string =>
  JSON.stringify({ ...covered(realisation), signatures: realisation.signatures });

export const formatRealisations = (realisations: readonly Realisation[]): string =>
  `[${realisations.map(formatRealisation).join(',')}]`;

const covered = ({ id, outPath, dependentRealisations }: Realisation) => ({
  dependentRealisations: Object.fromEntries(Object.entries(dependentRealisations).sort(([a], [b]) => (a < b ? -1 : 1))),
  id,
  outPath,
});

/** What a signature covers: all but the signatures. */
const fingerprintOf = (realisation: Realisation): string => JSON.stringify(covered(realisation));

/** Whether a signature of the one is one of the other. */
export const isSameRealisation = (a: Realisation, b: Realisation): boolean => fingerprintOf(a) === fingerprintOf(b);

/** With a signature by each of `keys`; what bears a key's name and is not its is dropped. */
export function signRealisation(realisation: Realisation, keys: readonly SecretKey[]): Realisation {
  const text = fingerprintOf(realisation);
  const names = new Set(keys.map(({ name }) => name));
  const foreign = realisation.signatures.filter((sig) => !names.has(sig.slice(0, sig.indexOf(':'))));
  return { ...realisation, signatures: [...new Set([...foreign, ...keys.map((key) => signText(text, key))])] };
}

/** Whether one of `keys` signed it. */
export const isRealisationSigned = (realisation: Realisation, keys: readonly PublicKey[]): boolean =>
  verifiesText(fingerprintOf(realisation), realisation.signatures, keys);

/** Each once, in order of ids: of two that say the same with the signatures of both, else the later one. */
export function mergeRealisations(lists: Iterable<readonly Realisation[]>): readonly Realisation[] {
  const merged = new Map<string, Realisation>();
  for (const list of lists) {
    for (const realisation of list) {
      const held = merged.get(realisation.id);
      const isSame = held !== undefined && fingerprintOf(held) === fingerprintOf(realisation);
      const signatures = isSame
        ? [...new Set([...held.signatures, ...realisation.signatures])]
        : realisation.signatures;
      merged.set(realisation.id, { ...realisation, signatures });
    }
  }
  return [...merged.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}
