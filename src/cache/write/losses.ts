/** Paths that a writer leaves out, and how far that reaches: to all that needs them, added or there before. */
import type { PathInfo } from '../../nix/path-info.ts';
import { type BaseName, baseNameOf } from '../../nix/store-path.ts';

export type References = Pick<PathInfo, 'path' | 'references'>;

export class Losses {
  /** Paths that are not written, and why. */
  readonly leftOut = new Map<BaseName, string>();
  readonly #closure: () => Iterable<References>;
  /** Paths in the closure that need one that is left out. */
  readonly #broken = new Set<BaseName>();
  #dependents: ReadonlyMap<BaseName, readonly BaseName[]> | undefined;

  /** @param closure what may need what is left out; asked once, when something is */
  constructor(closure: () => Iterable<References>) {
    this.#closure = closure;
  }

  add(name: BaseName, reason: string): void {
    this.leftOut.set(name, reason);
    this.#dependents ??= dependentsIn(this.#closure());
    const open = [name];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const dependent of this.#dependents.get(next) ?? []) {
        if (this.#broken.has(dependent)) continue;
        this.#broken.add(dependent);
        open.push(dependent);
      }
    }
  }

  /** Why a path cannot be written although nothing is wrong with it: something that it needs is left out. */
  faultOf({ path, references }: References): string | undefined {
    if (this.leftOut.size === 0) return undefined;
    const lacking = references.find((reference) => this.leftOut.has(reference));
    if (lacking !== undefined) return `it refers to ${lacking}, which is left out`;
    const own = baseNameOf(path);
    const broken = references.find((reference) => reference !== own && this.#broken.has(reference));
    return broken && `it refers to ${broken}, which needs what is left out`;
  }

  /** Whether neither the path nor anything that it needs is left out. */
  isWhole(name: BaseName): boolean {
    return !this.leftOut.has(name) && !this.#broken.has(name);
  }
}

/** What refers to each path, itself left out. */
function dependentsIn(closure: Iterable<References>): ReadonlyMap<BaseName, readonly BaseName[]> {
  const dependents = new Map<BaseName, BaseName[]>();
  for (const { path, references } of closure) {
    const name = baseNameOf(path);
    for (const reference of references) {
      if (reference === name) continue;
      const known = dependents.get(reference) ?? [];
      known.push(name);
      dependents.set(reference, known);
    }
  }
  return dependents;
}
