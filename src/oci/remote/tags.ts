import * as z from 'zod/mini';
import { parseBoundedJson } from '../../bounded-json.ts';
import type { CallOptions } from '../../call-options.ts';
import type { NixcacheError } from '../../errors.ts';
import { redactUrl } from '../../http/http-fetch.ts';
import { RegistryError } from './registry-error.ts';
import type { Transport } from './transport.ts';

/** Empty lists come as `null` or not at all; but what has not even the name is no tag list, and not an empty one. */
const pageSchema = z.union([
  z.object({ tags: z.array(z.string()) }),
  z.object({ name: z.string(), tags: z.optional(z.nullable(z.array(z.string()))) }),
]);

/** 200 000: a thousand publishes a day for half a year that no gc has seen; some 30 MiB in memory. */
const MAX_TAGS = 200_000;

/** In a row without one new tag. Tags that come or go meanwhile shift a page; more of them is a circle, of fresh URLs perhaps. */
const MAX_FRUITLESS_PAGES = 8;

/** No tag is longer (distribution-spec v1.1.1, "Pulling manifests"). */
const MAX_TAG_LENGTH = 128;

/** 32 MiB: some registries ignore `n` and send everything; 128 bytes a tag. */
const MAX_PAGE_BYTES = 32 * 1024 * 1024;

/**
 * All tags, page by page in whatever order they come; `Link` alone says whether there are more. A repository that the
 * registry says it does not know has none.
 *
 * @throws {NixcacheError} any other refusal, and more tags than MAX_TAGS: a list that cannot be read is not an empty one
 */
export async function listTags(transport: Transport, { signal }: CallOptions = {}): Promise<string[]> {
  const tags = new Set<string>();
  const seen = new Set<string>();
  let fruitless = 0;
  let url: URL | undefined = transport.url(`tags/list?n=${transport.kind.tagPageSize}`);
  while (url !== undefined) {
    if (seen.has(url.href) || fruitless === MAX_FRUITLESS_PAGES) {
      throw fault(transport, `${redactUrl(url)} leads in a circle after ${seen.size} pages`);
    }
    seen.add(url.href);
    const page = await fetchPage(transport, url, signal);
    if (page === undefined && seen.size === 1) return [];
    if (page === undefined) throw fault(transport, `${redactUrl(url)} is gone`);
    const before = tags.size;
    for (const tag of page.tags) if (tag.length <= MAX_TAG_LENGTH) tags.add(tag);
    if (tags.size > MAX_TAGS) {
      throw fault(
        transport,
        `there are more than ${MAX_TAGS} tags; run nixcache gc often, or take a repository of its own`,
      );
    }
    fruitless = tags.size > before ? 0 : fruitless + 1;
    url = page.next;
  }
  return [...tags];
}

interface Page {
  readonly tags: readonly string[];
  readonly next: URL | undefined;
}

async function fetchPage(transport: Transport, url: URL, signal: AbortSignal | undefined): Promise<Page | undefined> {
  try {
    const { response, bytes } = await transport.fetchDocument(
      { method: 'GET', url, actions: 'pull', expect: [200], signal },
      { maxBytes: MAX_PAGE_BYTES, what: 'the list of tags' },
    );
    return {
      tags: parsePage(transport, bytes, url),
      next: nextPage(transport, response.headers['link'], response.url),
    };
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'ERR_NOT_FOUND') return undefined;
    throw error;
  }
}

function parsePage(transport: Transport, bytes: Buffer, url: URL): readonly string[] {
  try {
    return pageSchema.parse(parseBoundedJson(bytes.toString('utf8'))).tags ?? [];
  } catch (cause) {
    throw fault(transport, `${redactUrl(url)} is no tag list; is this an OCI registry?`, { cause });
  }
}

/** RFC 8288: `<url>; rel="next"`. It must stay within the registry. */
function nextPage(transport: Transport, link: string | readonly string[] | undefined, from: URL): URL | undefined {
  const target = /<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec([link ?? []].flat().join(', '))?.[1];
  if (target === undefined) return undefined;
  const next = transport.resolve(target, from, DOING);
  if (transport.isOwn(next)) return next;
  throw fault(transport, `${redactUrl(from)} leads on to ${next.host}, another registry`);
}

const DOING = 'list tags';
const fault = (transport: Transport, reason: string, options?: ErrorOptions): NixcacheError =>
  transport.fault('ERR_REGISTRY', DOING, reason, options);
