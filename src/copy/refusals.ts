/** What a copy leaves out, and what needs that: asked about paths references first, it knows how far a refusal reaches. */
import type { SegmentRecords } from '../cache-index/records.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { RefusedPath } from './copy-options.ts';

type References = Pick<PathInfo, 'path' | 'references'>;

export class Refusals {
  readonly #refused = new Map<HashPart, RefusedPath>();
  /** At the destination already, though they need what is refused. */
  readonly #broken = new Set<HashPart>();

  get list(): readonly RefusedPath[] {
    return [...this.#refused.values()];
  }

  add({ path }: Pick<References, 'path'>, reason: string): void {
    this.addUnnamed(hashPartOf(path), path, reason);
  }

  /** The same for a path of which no more than its hash part may be known; `path` is what to call it. */
  addUnnamed(hashPart: HashPart, path: string, reason: string): void {
    this.#refused.set(hashPart, { path, reason });
  }

  has(hashPart: HashPart): boolean {
    return this.#refused.has(hashPart);
  }

  /** Why a path cannot be taken over, with nothing wrong with it: it needs what is refused. */
  faultOf({ path, references }: References): string | undefined {
    const refused = references.find((reference) => this.#refused.has(hashPartOf(reference)));
    if (refused !== undefined) return `it refers to ${refused}, which is left out`;
    const own = baseNameOf(path);
    const broken = references.find((reference) => reference !== own && this.#broken.has(hashPartOf(reference)));
    return broken && `it refers to ${broken}, which needs what is left out`;
  }

  /** Notes what the destination has. */
  pass(info: References): void {
    if (this.faultOf(info) !== undefined) this.#broken.add(hashPartOf(info.path));
  }

  /** Whether the path and all that it needs are taken over, or at the destination. */
  isWhole(hashPart: HashPart): boolean {
    return !this.#refused.has(hashPart) && !this.#broken.has(hashPart);
  }

  /** `records` less the roots and pins that need what is refused. */
  wholeOf({ roots, pins }: SegmentRecords): SegmentRecords {
    return {
      roots: roots.filter(({ path }) => this.isWhole(hashPartOf(path))),
      pins: pins.filter(({ path }) => path === undefined || this.isWhole(hashPartOf(path))),
    };
  }
}
