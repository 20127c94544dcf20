import { createHash } from 'node:crypto';
import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { execa } from 'execa';

/** An installed Debian package, as the build of one store path needs it. */
export interface DebianPackage {
  readonly package: string;
  /** Package and version in the characters that a store path name may have. */
  readonly name: string;
  /** Absolute, under their real directories; regular files that everyone may read, and symlinks. */
  readonly files: readonly string[];
  /** SHA-256 (hex) of the list of files, not of their contents. */
  readonly fileListHash: string;
  /** Bytes in the files. */
  readonly size: number;
  /** Other packages of the same list; without cycles. */
  readonly dependencies: readonly string[];
}

/**
 * Packages installed on this machine with files of at most `maxBytes` together, sorted by name.
 *
 * Closures of real software have many small paths and a few large ones, and one large path decides how well a
 * publisher shares its cores. So the largest package of at most a sixth of `maxBytes` goes in first, and then all others
 * from the smallest up.
 */
export async function choosePackages(maxBytes: number): Promise<readonly DebianPackage[]> {
  const installed = await readInstalled();
  const largest = installed.filter(({ size }) => size <= maxBytes / 6).sort((a, b) => b.size - a.size)[0];
  const bySize = installed.filter((entry) => entry !== largest).sort((a, b) => a.size - b.size || compare(a, b));
  const chosen = new Map<string, Unlinked>();
  let total = 0;
  for (const entry of largest === undefined ? bySize : [largest, ...bySize]) {
    if (total + entry.size > maxBytes) break;
    total += entry.size;
    chosen.set(entry.package, entry);
  }
  const providers = readProviders(chosen);
  const links = breakCycles(
    new Map([...chosen].map(([name, entry]) => [name, resolveDepends(entry.depends, name, providers)])),
  );
  return [...chosen.values()].sort(compare).map(({ provides: _provides, depends: _depends, ...entry }) => ({
    ...entry,
    dependencies: links.get(entry.package) ?? [],
  }));
}

interface Unlinked extends Omit<DebianPackage, 'dependencies'> {
  /** The fields as dpkg prints them. */
  readonly provides: string;
  readonly depends: string;
}

const compare = (a: Unlinked, b: Unlinked): number => (a.package < b.package ? -1 : 1);

async function readInstalled(): Promise<readonly Unlinked[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: these are dpkg's fields
  const format = '${db:Status-Abbrev}\t${binary:Package}\t${Version}\t${Provides}\t${Pre-Depends}, ${Depends}\n';
  const { stdout } = await execa('dpkg-query', ['--show', '--showformat', format]);
  const rows = stdout
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([status]) => status?.startsWith('ii'));
  // One blank line between the packages, in the order asked for.
  const names = rows.map(([, binaryPackage = '']) => binaryPackage);
  const lists = (await execa('dpkg-query', ['--listfiles', ...names], { maxBuffer: 2 ** 28 })).stdout.split('\n\n');
  const seen = new Set<string>();
  const realDirectory = memoize((directory: string) => realpathSync(directory));
  return rows.flatMap(([, binaryPackage = '', version = '', provides = '', depends = ''], at) => {
    const name = binaryPackage.replace(/:.*/, '');
    if (seen.has(name)) return [];
    seen.add(name);
    const { files, size } = readFiles(lists[at] ?? '', realDirectory);
    return {
      package: name,
      name: `${name}-${version.replace(/^\d+:/, '')}`.replaceAll(/[^\w+.-]/g, '-'),
      files,
      size,
      fileListHash: createHash('sha256').update(files.join('\0')).digest('hex'),
      provides,
      depends,
    };
  });
}

const WORLD_READABLE = 0o004;
/** Set-uid and set-gid files are left out too: Nix forbids its builders to make them. */
const MODE_BITS = 0o6000 | WORLD_READABLE;

/** Lines that are no paths tell of diversions. Files removed since, and files for root only, are left out. */
function readFiles(list: string, realDirectory: (directory: string) => string): { files: string[]; size: number } {
  const files = new Set<string>();
  let size = 0;
  for (const path of list.split('\n')) {
    if (!path.startsWith('/') || path === '/.') continue;
    let real: string;
    try {
      real = join(realDirectory(dirname(path)), basename(path));
    } catch {
      continue; // its directory is gone, as in images that drop the documentation
    }
    const stats = lstatSync(real, { throwIfNoEntry: false });
    if (stats === undefined || files.has(real)) continue;
    if (!stats.isSymbolicLink() && !(stats.isFile() && (stats.mode & MODE_BITS) === WORLD_READABLE)) continue;
    files.add(real);
    size += stats.isFile() ? stats.size : 0;
  }
  return { files: [...files].sort(), size };
}

/** Which package stands for each real or virtual name; of several the first by name. */
function readProviders(packages: ReadonlyMap<string, Unlinked>): ReadonlyMap<string, string> {
  const providers = new Map([...packages.keys()].map((name) => [name, name]));
  for (const { package: name, provides } of [...packages.values()].sort(compare)) {
    for (const virtual of provides.split(',').map(bareName)) {
      if (virtual !== '' && !providers.has(virtual)) providers.set(virtual, name);
    }
  }
  return providers;
}

/** `a (>= 1), b | c:any` → of each alternative the first that is there. */
function resolveDepends(depends: string, self: string, providers: ReadonlyMap<string, string>): readonly string[] {
  const found = depends
    .split(',')
    .map(
      (group) =>
        group
          .split('|')
          .map(bareName)
          .flatMap((name) => providers.get(name) ?? [])[0],
    )
    .filter((name) => name !== undefined && name !== self);
  return [...new Set(found)].filter((name) => name !== undefined).sort();
}

const bareName = (term: string): string => /^\s*([^\s:(]*)/.exec(term)?.[1] ?? '';

/** Drops each link that leads back to a package it was reached from, walking in the order of names. */
function breakCycles(links: ReadonlyMap<string, readonly string[]>): ReadonlyMap<string, readonly string[]> {
  const done = new Map<string, readonly string[]>();
  const open = new Set<string>();
  const visit = (name: string): void => {
    if (done.has(name)) return;
    open.add(name);
    const kept: string[] = [];
    for (const target of links.get(name) ?? []) {
      if (open.has(target)) continue;
      visit(target);
      kept.push(target);
    }
    open.delete(name);
    done.set(name, kept);
  };
  for (const name of [...links.keys()].sort()) visit(name);
  return done;
}

function memoize<T>(compute: (key: string) => T): (key: string) => T {
  const known = new Map<string, T>();
  return (key) => {
    const value = known.get(key) ?? compute(key);
    known.set(key, value);
    return value;
  };
}
