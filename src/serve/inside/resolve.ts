/** Finds a file in the tree of a NAR, through symbolic links as the file system would, were the store where it should be. */
import type { NarNode } from '../../nar/nar-listing.ts';
import { type BaseName, baseNameOf, isBaseName, type StorePath, storeDirOf } from '../../nix/store-path.ts';

export type Resolved =
  /** `names` lead to it without a link; they are not those that were asked for when it was found `viaLink`. */
  | { readonly type: 'found'; readonly node: NarNode; readonly names: readonly string[]; readonly viaLink: boolean }
  /** A link leads to another store path. */
  | { readonly type: 'elsewhere'; readonly baseName: BaseName; readonly names: readonly string[] }
  /** A link leads out of the store. `isLast`: it is what was asked for, and not on the way there. */
  | { readonly type: 'outside'; readonly target: string; readonly isLast: boolean }
  | { readonly type: 'missing' }
  | { readonly type: 'loop' };

/** As many links as Linux follows. */
const MAX_LINKS = 40;

/** What `names` below `path`, the tree of which is `root`, lead to. */
export function resolveNames(path: StorePath, root: NarNode, names: readonly string[]): Resolved {
  return new Walk(path, root, names).run();
}

interface Level {
  readonly name: string;
  readonly parent: NarNode;
}

class Walk {
  readonly #path: StorePath;
  readonly #root: NarNode;
  /** From the root down to where we are. */
  readonly #levels: Level[] = [];
  /** Names still to go, the next one last. */
  #ahead: string[];
  #node: NarNode;
  #links = 0;
  /** The link followed last. */
  #link = { target: '', isLast: false };

  constructor(path: StorePath, root: NarNode, names: readonly string[]) {
    this.#path = path;
    this.#root = root;
    this.#node = root;
    this.#ahead = names.toReversed();
  }

  run(): Resolved {
    for (;;) {
      const end = this.#node.type === 'symlink' ? this.#follow(this.#node.target) : this.#step();
      if (end !== undefined) return end;
    }
  }

  #step(): Resolved | undefined {
    const name = this.#ahead.pop();
    const node = this.#node;
    if (name === undefined) {
      return { type: 'found', node, names: this.#levels.map((level) => level.name), viaLink: this.#links > 0 };
    }
    if (node.type !== 'directory') return { type: 'missing' };
    if (name === '' || name === '.') return undefined;
    if (name === '..') {
      const level = this.#levels.pop();
      if (level === undefined) return this.#fromStore();
      this.#node = level.parent;
      return undefined;
    }
    const child = node.entries.get(name);
    if (child === undefined) return { type: 'missing' };
    this.#levels.push({ name, parent: node });
    this.#node = child;
    return undefined;
  }

  #follow(target: string): Resolved | undefined {
    this.#links += 1;
    if (this.#links > MAX_LINKS) return { type: 'loop' };
    this.#link = { target, isLast: this.#ahead.length === 0 };
    const storeDir = storeDirOf(this.#path);
    if (target.startsWith('/')) {
      if (!target.startsWith(`${storeDir}/`)) return { type: 'outside', ...this.#link };
      this.#ahead.push(
        ...target
          .slice(storeDir.length + 1)
          .split('/')
          .toReversed(),
      );
      return this.#fromStore();
    }
    this.#ahead.push(...target.split('/').toReversed());
    const level = this.#levels.pop();
    if (level === undefined) return this.#fromStore(); // the root itself is the link, and lies in the store directory
    this.#node = level.parent;
    return undefined;
  }

  /** Goes on in the store directory. */
  #fromStore(): Resolved | undefined {
    const names: string[] = [];
    for (const name of this.#ahead.toReversed()) {
      if (name === '' || name === '.') continue;
      if (name !== '..') names.push(name);
      else if (names.pop() === undefined) return { type: 'outside', ...this.#link };
    }
    const [baseName, ...rest] = names;
    if (baseName === undefined || !isBaseName(baseName)) return { type: 'outside', ...this.#link };
    if (baseName !== baseNameOf(this.#path)) return { type: 'elsewhere', baseName, names: rest };
    this.#levels.length = 0;
    this.#node = this.#root;
    this.#ahead = rest.toReversed();
    return undefined;
  }
}
