/** The inputs of a flake that lie on this machine: Nix copies them to its store as it copies the flake. */
import { join } from 'node:path';
import * as z from 'zod/mini';
import { readIfAny } from '../regular-file.ts';

const Reference = z.object({
  type: z.optional(z.string()),
  path: z.optional(z.string()),
  url: z.optional(z.string()),
  rev: z.optional(z.string()),
});
const Lock = z.object({
  nodes: z.record(z.string(), z.object({ locked: z.optional(Reference), original: z.optional(Reference) })),
});

/**
 * References to inputs of the flake in `directory`, relative ones to be read there: what flake.lock names, inputs of inputs
 * among them, and what flake.nix says as text. One that an expression makes up is not seen before Nix has locked it.
 */
export async function localInputs(directory: string): Promise<readonly string[]> {
  const [expression, lock] = await Promise.all(
    ['flake.nix', 'flake.lock'].map((name) => readIfAny(join(directory, name))),
  );
  return [...new Set([...inExpression(expression ?? ''), ...inLock(lock ?? '')])];
}

const inExpression = (text: string): readonly string[] => [
  ...[...text.matchAll(/\burl\s*=\s*"((?:path:|git\+file:|\/|\.{1,2}\/)[^"$]*)"/g)].map(([, url = '']) => url),
  ...[...text.matchAll(/\bpath\s*=\s*"([/.][^"$]*)"/g)].map(([, path = '']) => byPath(path)),
];

function inLock(text: string): readonly string[] {
  const lock = Lock.safeParse(parse(text));
  if (!lock.success) return []; // Nix says it better
  const references = Object.values(lock.data.nodes).flatMap(({ locked, original }) => [locked ?? {}, original ?? {}]);
  return references.flatMap(({ type, path, url, rev }) => {
    if (type === 'path' && path !== undefined) return byPath(path);
    if (type !== 'git' || !url?.startsWith('file:')) return [];
    return `git+${url}${rev === undefined ? '' : `?rev=${rev}`}`;
  });
}

const byPath = (path: string): string => `path:${encodeURI(path).replaceAll(/[?#]/g, encodeURIComponent)}`;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
