/** Where the files of a binary cache come from: HTTP or a directory. `url` is relative to the cache, as in a narinfo. */

import type { Readable } from 'node:stream';
import type { CallOptions } from '../call-options.ts';
import type { OpenRange } from '../streams/byte-range.ts';

export interface SourceFacts {
  /** Bytes of the whole file; undefined when the far side does not say. */
  readonly size: number | undefined;
  /** A strong entity tag. */
  readonly etag: string | undefined;
}

export interface SourceFile extends SourceFacts {
  /** The file, or the part asked for. It breaks with an error when it ends early. To be read or destroyed. */
  readonly body: Readable;
}

export interface OpenFileOptions extends CallOptions {
  readonly range?: OpenRange | undefined;
  /** A NAR: it may be large, and its reader slow. */
  readonly bulk?: boolean | undefined;
  /** Value of the Via header: through whom the request came, ourselves last. */
  readonly via?: string | undefined;
}

export interface FileSource {
  /**
   * Opens a file; undefined when the cache says that it has none. `url` is as a narinfo names it: over HTTP it may be
   * absolute, and then leads wherever it says, without the cache's credentials where that is another origin.
   *
   * @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK; ERR_RANGE when `range` lies outside the file
   */
  open(url: string, options?: OpenFileOptions): Promise<SourceFile | undefined>;
}

/**
 * Where `relative` leads from the cache at `base`, or undefined if that is not inside the cache. Credentials of the
 * cache go with the request, and `serve` asks for what its clients name: so nothing else may be reached this way.
 */
export function resolveInside(base: string, relative: string): URL | undefined {
  const root = new URL(`${base}/`);
  if (relative.includes('\\') || !URL.canParse(relative, root.href)) return undefined;
  const url = new URL(relative, root);
  const isInside =
    url.protocol === root.protocol &&
    url.host === root.host &&
    url.username === '' &&
    url.password === '' &&
    url.pathname.startsWith(root.pathname);
  // A server that decodes these would see '..' where we saw none.
  return isInside && !/%(?:2f|5c|00)/i.test(url.pathname) ? url : undefined;
}
