/**
 * Deletes manifests from GHCR, which answers 405 to OCI's DELETE: each is a version of a package, deleted by its number.
 *
 * A deleted version takes all its tags with it. So each is looked at again right before, and deleted only if it is the
 * manifest, and has the very tags, that gc planned to delete.
 *
 * The API has an hourly budget, two requests of which go with each version. When it ends, what is left is reported; gc plans
 * from what is still there, so that the next one goes on where this one stopped.
 */

import { CACHE_INDEX_TAG } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import {
  type DeletionOptions,
  type DeletionReport,
  type FailedDeletion,
  HOPELESS,
  type ManifestDeleter,
  type UnneededManifest,
} from '../gc/deleter.ts';
import type { GithubApi } from './api.ts';
import { GithubError } from './github-error.ts';
import type { PackageName } from './package-name.ts';
import { PackageVersions } from './package-versions.ts';

export interface GithubPackagesDeleterOptions {
  /** Undefined when there is no token: then nothing is deleted, and the report says why. */
  readonly api: GithubApi | undefined;
  readonly package: PackageName;
  /** Each version that is gone, so that it can be brought back. */
  readonly onDeleted?: ((tag: string, id: number) => void) | undefined;
}

/** Requests that are left to others of the same token: jobs of one repository share 1000 an hour. */
const RESERVED_REQUESTS = 25;
/** To look at a version, to delete it, and to look again should that be answered with 404. */
const REQUESTS_PER_VERSION = 3;
/** What GitHub keeps deleted versions for. docs.github.com "Deleting and restoring a package" */
const RESTORABLE_DAYS = 30;
/** Of the versions of one batch all are named; a list without end helps no one. */
const MAX_NAMED = 30;

export class GithubPackagesDeleter implements ManifestDeleter {
  /** Whether blobs that two versions share outlive the first is documented nowhere: gc looks after so many. */
  readonly batchSize = 25;
  readonly #options: GithubPackagesDeleterOptions;
  readonly #ids = new Map<string, number>();
  #versions: PackageVersions | undefined;
  /** Listed once, before the first deletion: later, pages move up and hide some. */
  #idsByDigest: ReadonlyMap<string, number> | undefined;
  /** Why nothing more can be deleted. */
  #stopped: NixcacheError | undefined;
  #failuresInRow = 0;

  constructor(options: GithubPackagesDeleterOptions) {
    this.#options = options;
    if (!options.api) this.#stopped = withoutToken(options.package);
  }

  async deleteManifests(list: readonly UnneededManifest[], options: DeletionOptions = {}): Promise<DeletionReport> {
    const { signal, onProgress } = options;
    const deleted: string[] = [];
    const failed: FailedDeletion[] = [];
    let done = 0;
    for (const [digest, tags] of tagsByDigest(list)) {
      signal?.throwIfAborted();
      const error = this.#stopped ?? (await this.#tryDelete(digest, tags, { signal }));
      if (error) failed.push(...tags.map((tag) => ({ tag, error })));
      else deleted.push(...tags);
      done += tags.length;
      onProgress?.(done);
    }
    return { deleted, failed, stopped: this.#stopped };
  }

  restoreAdvice(tags: readonly string[]): string {
    const ids = [...new Set(tags.flatMap((tag) => this.#ids.get(tag) ?? []))];
    const url = this.#versions?.restoreUrl ?? 'the restore URL of the package';
    const more = ids.length > MAX_NAMED ? ` (and ${ids.length - MAX_NAMED} before them; --verbose names all)` : '';
    return (
      `GitHub restores deleted versions for ${RESTORABLE_DAYS} days: POST ${url} with each of the ids ` +
      `${ids.slice(-MAX_NAMED).join(', ')}${more}, for example: gh api -X POST ${url.replace('{id}', String(ids.at(-1)))}`
    );
  }

  /** The error, if it could not be deleted. */
  async #tryDelete(digest: string, tags: readonly string[], options: CallOptions): Promise<NixcacheError | undefined> {
    try {
      await this.#delete(digest, tags, options);
      this.#failuresInRow = 0;
      return undefined;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isNixcacheError(error) || error.code === 'ERR_INTERRUPTED') throw error;
      const isOfThisOne = error instanceof GithubError && error.kind !== 'failed';
      this.#failuresInRow = isOfThisOne ? 0 : this.#failuresInRow + 1;
      const isFinal = (error instanceof GithubError && error.isFinal) || !this.#idsByDigest;
      if (isFinal || this.#failuresInRow >= HOPELESS) this.#stopped = error;
      return error;
    }
  }

  async #delete(digest: string, tags: readonly string[], options: CallOptions): Promise<void> {
    const { onDeleted } = this.#options;
    const { versions, idsByDigest } = await this.#open(options);
    const id = idsByDigest.get(digest);
    if (id === undefined) throw changed('the registry has it, and GitHub does not list it as a version of the package');
    this.#checkBudget();
    const version = await versions.fetch(id, options);
    if (!version) return; // someone else was faster
    if (version.digest !== digest || !hasExactly(version.tags, tags) || version.tags.includes(CACHE_INDEX_TAG)) {
      throw changed(
        `its version changed since gc looked: it is tagged ${version.tags.join(', ') || 'with nothing'} now`,
      );
    }
    if ((await versions.delete(id, options)) === 'absent') return;
    for (const tag of tags) {
      this.#ids.set(tag, id);
      onDeleted?.(tag, id);
    }
  }

  async #open(options: CallOptions) {
    const { api, package: name } = this.#options;
    if (!api) throw withoutToken(name);
    const versions = this.#versions ?? (await PackageVersions.open(api, name, options));
    this.#versions = versions;
    this.#idsByDigest ??= new Map((await versions.list(options)).map(({ digest, id }) => [digest, id]));
    return { versions, idsByDigest: this.#idsByDigest };
  }

  /** Stops while the other jobs of the repository can still work. */
  #checkBudget(): void {
    const budget = this.#options.api?.budget;
    if (!budget || budget.remaining >= RESERVED_REQUESTS + REQUESTS_PER_VERSION) return;
    throw new GithubError(
      'rate-limit',
      `of this hour's requests to GitHub's API ${budget.remaining} are left, and those are for others; ` +
        `run gc again after ${new Date(budget.resetsAt).toISOString()}, it goes on from here`,
      { status: 0 },
    );
  }
}

/** Each manifest once, with all the tags that are to go. */
function tagsByDigest(list: readonly UnneededManifest[]): Map<string, string[]> {
  const tags = new Map<string, string[]>();
  for (const { tag, digest } of list) {
    const held = tags.get(digest);
    if (held) held.push(tag);
    else tags.set(digest, [tag]);
  }
  return tags;
}

const hasExactly = (tags: readonly string[], planned: readonly string[]): boolean =>
  tags.length === planned.length && planned.every((tag) => tags.includes(tag));

const changed = (why: string): GithubError => new GithubError('changed', `left as it is: ${why}`, { status: 0 });

const withoutToken = ({ owner, name }: PackageName): NixcacheError =>
  new NixcacheError(
    'ERR_UNAUTHORIZED',
    `deleting versions of ${owner}/${name} takes a token for GitHub's API: set GITHUB_TOKEN, in a workflow to ` +
      // biome-ignore lint/suspicious/noTemplateCurlyInString: as a workflow file has it
      '${{ github.token }} with `permissions: packages: write`, elsewhere to a classic token with read:packages and delete:packages',
  );
