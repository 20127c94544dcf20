import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import type { NarNode } from '../../../src/nar/nar-listing.ts';
import { parseStorePath } from '../../../src/nix/store-path.ts';
import { resolveNames } from '../../../src/serve/inside/resolve.ts';
import { encodeNames, filePathOf, parseStoreTarget } from '../../../src/serve/inside/store-target.ts';
import { baseName } from '../set-up.ts';

const PATH = parseStorePath(`/nix/store/${baseName(1)}`);
const OTHER = baseName(2);

/** Names that mean something to a file system, or lead around in trees of them. */
const name = fc.constantFrom('a', 'b', 'c', '..', '.', '');
const target = fc.oneof(
  fc.array(name, { minLength: 1, maxLength: 6 }).map((names) => names.join('/') || 'a'),
  fc.constantFrom(PATH, `${PATH}/a`, `${PATH}/../${OTHER}`, `/nix/store/${OTHER}/../..`, '/nix/store', '/', '/etc'),
);
const { node } = fc.letrec<{ node: NarNode }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', maxDepth: 4 },
    fc.record({ type: fc.constant('symlink' as const), target }),
    fc.record({ type: fc.constant('regular' as const), size: fc.constant(1), executable: fc.boolean() }),
    fc
      .dictionary(fc.constantFrom('a', 'b', 'c'), tie('node'))
      .map((entries) => ({ type: 'directory' as const, entries: new Map(Object.entries(entries)) })),
  ),
}));

test('every tree is walked to an end, and what is found is there without a link', () => {
  fc.assert(
    fc.property(node, fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 5 }), (root, names) => {
      const resolved = resolveNames(PATH, root, names);
      if (resolved.type !== 'found') return;
      let at: NarNode | undefined = root;
      for (const each of resolved.names) at = at?.type === 'directory' ? at.entries.get(each) : undefined;
      expect(at).toBe(resolved.node);
      expect(at?.type).not.toBe('symlink');
      expect(resolveNames(PATH, root, resolved.names)).toEqual({ ...resolved, viaLink: false });
      if (!resolved.viaLink) expect(resolved.names).toEqual(names);
    }),
  );
});

it('forty links are followed, and no more', () => {
  const chain = (length: number): NarNode => ({
    type: 'directory',
    entries: new Map<string, NarNode>([
      ...Array.from({ length }, (_, at) => [`l${at}`, { type: 'symlink', target: `l${at + 1}` }] as const),
      [`l${length}`, { type: 'regular', size: 0, executable: false }],
    ]),
  });
  expect(resolveNames(PATH, chain(40), ['l0']).type).toBe('found');
  expect(resolveNames(PATH, chain(41), ['l0']).type).toBe('loop');
});

test('links that name each other many times over end soon', () => {
  const entries = new Map<string, NarNode>(
    Array.from({ length: 40 }, (_, at) => [
      `l${at}`,
      { type: 'symlink', target: Array.from({ length: 800 }, () => `l${at + 1}`).join('/') },
    ]),
  );
  expect(resolveNames(PATH, { type: 'directory', entries }, ['l0']).type).not.toBe('found');
});

test('any name that a NAR can hold is found by the URL that is made of it', () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(bytes, { minLength: 1, maxLength: 4 }), (parts) => {
      const names = parts.map((part) => `n${Buffer.from(part).toString('latin1').replaceAll(/[/\0]/g, '_')}`);
      const raw = names.map((each) => `/${encodeURIComponent(each)}`).join('');
      expect(filePathOf(raw)).toBe(names.map((each) => `/${each}`).join(''));
      const path = filePathOf(`${PATH}${encodeNames(names)}`);
      expect(path && parseStoreTarget(path, '/nix/store')?.names).toEqual(names);
    }),
  );
});

test('no target makes anything but a path, or nothing', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const path = filePathOf(`/${text}`);
      if (path === undefined) return;
      expect(path.split('/')).not.toContain('..');
      expect(path).not.toContain('\0');
      parseStoreTarget(path, '/nix/store');
    }),
  );
});
