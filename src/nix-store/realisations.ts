/**
 * Outputs whose paths only a build tells: those of content-addressed derivations (`__contentAddressed`), and of what
 * depends on such. Once they are built, the store knows them as realisations.
 */
import type { CallOptions } from '../call-options.ts';
import { outputOfId, type Realisation } from '../nix/realisation.ts';
import { type BaseName, type StorePath, toStorePath } from '../nix/store-path.ts';
import { readRegular } from '../regular-file.ts';
import type { BuildTarget } from './build-failure.ts';
import type { LocalStore } from './local-store.ts';

/** Whether a path of `target` is not known yet. */
export const isFloating = ({ floating = [] }: Pick<BuildTarget, 'floating'>): boolean => floating.length > 0;

/** `targets`, with the paths of floating outputs that the store knows in place of their names. */
export async function withRealised<T extends BuildTarget>(
  targets: readonly T[],
  store: LocalStore,
  options: CallOptions,
): Promise<readonly T[]> {
  const known = await store.queryRealisations(
    targets.filter(isFloating).map(({ drvPath }) => drvPath),
    options,
  );
  return targets.map((target) => {
    const paths = new Map(known.get(target.drvPath)?.map(({ id, outPath }) => [outputOfId(id), outPath]));
    if (paths.size === 0) return target;
    const found = (target.floating ?? []).flatMap((name) => {
      const outPath = paths.get(name);
      return outPath === undefined ? [] : [[name, toStorePath(outPath, store.storeDir)] as const];
    });
    const floating = target.floating?.filter((name) => !paths.has(name));
    return { ...target, outputs: { ...target.outputs, ...Object.fromEntries(found) }, floating };
  });
}

/**
 * By path, the realisations that whoever substitutes the outputs of `drvs` asks for: their own, and those of all that they
 * were built with, as far as the store knows them.
 */
export async function realisationsBelow(
  drvs: readonly StorePath[],
  store: LocalStore,
  options: CallOptions,
): Promise<ReadonlyMap<BaseName, readonly Realisation[]>> {
  const byPath = new Map<BaseName, Realisation[]>();
  if (drvs.length === 0) return byPath;
  const closure = await store.queryClosure(drvs, options);
  const floating: StorePath[] = [];
  for (const { path } of closure) {
    if (path.endsWith('.drv') && (drvs.includes(path) || (await hasFloatingOutputs(path, store)))) floating.push(path);
  }
  for (const realisations of (await store.queryRealisations(floating, options)).values()) {
    for (const realisation of realisations) {
      byPath.set(realisation.outPath, [...(byPath.get(realisation.outPath) ?? []), realisation]);
    }
  }
  return byPath;
}

/** 64 MiB: derivations hold scripts, and lists of all their inputs. */
const MAX_DERIVATION_BYTES = 64 * 1024 * 1024;

/** An output without a path: `("out","","r:sha256","")`, at the beginning of a derivation. */
const FLOATING_OUTPUT = /^Derive\(\[(?:\("[^"]*","[^"]*","[^"]*","[^"]*"\),)*\("[^"]*","",/;

/** A store that cannot be read has none that we could tell of. */
async function hasFloatingOutputs(drv: StorePath, store: LocalStore): Promise<boolean> {
  try {
    const bytes = await readRegular(store.contentPath(drv), { links: 'refused', maxBytes: MAX_DERIVATION_BYTES });
    return FLOATING_OUTPUT.test(bytes.toString('latin1', 0, 64 * 1024));
  } catch {
    return false;
  }
}
