/**
 * index.json of an image layout: which tag names which manifest. A tag is the annotation
 * org.opencontainers.image.ref.name of a descriptor (opencontainers/image-spec v1.1.1 image-layout.md).
 *
 * Readers need no lock: the file is only ever replaced whole. What others wrote into it (platforms, annotations, entries
 * without a tag) is kept as it is.
 */
import type { BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import * as z from 'zod/mini';
import { parseBoundedJson } from '../../bounded-json.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import { ioError, isAbsent } from '../../io-error.ts';
import { readRegular } from '../../regular-file.ts';
import { type Descriptor, descriptorSchema } from '../descriptor.ts';
import type { Digest } from '../digest.ts';
import { IMAGE_INDEX } from '../manifest.ts';
import { inspectLayout, type LayoutFiles, type LayoutState, replaceFile } from './files.ts';

const REF_NAME = 'org.opencontainers.image.ref.name';
/** 64 MiB: 200 000 tags of some 300 bytes. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;
/** Of a tag some eight; other tools write more. */
const MAX_INDEX_VALUES = 4_000_000;

const entrySchema = z.looseObject(descriptorSchema.shape);
const layoutIndexSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.optional(z.literal(IMAGE_INDEX)),
  manifests: z.array(entrySchema),
});

type Entry = z.infer<typeof entrySchema>;
type LayoutIndexJson = z.infer<typeof layoutIndexSchema>;

/** The tags at one moment. */
export class LayoutTags {
  readonly entries: readonly Entry[];
  #tables: { readonly byTag: Map<string, Descriptor>; readonly byDigest: Map<Digest, Descriptor> } | undefined;

  constructor(entries: readonly Entry[]) {
    this.entries = entries;
  }

  get tags(): string[] {
    return [...this.#lookUp().byTag.keys()];
  }

  byTag(tag: string): Descriptor | undefined {
    return this.#lookUp().byTag.get(tag);
  }

  byDigest(digest: Digest): Descriptor | undefined {
    return this.#lookUp().byDigest.get(digest);
  }

  with(tag: string, descriptor: Descriptor): LayoutTags {
    const entry: Entry = { ...descriptor, annotations: { [REF_NAME]: tag } };
    return new LayoutTags([...this.entries.filter((other) => tagOf(other) !== tag), entry]);
  }

  without(digest: Digest): LayoutTags {
    return new LayoutTags(this.entries.filter((entry) => entry.digest !== digest));
  }

  #lookUp(): { readonly byTag: Map<string, Descriptor>; readonly byDigest: Map<Digest, Descriptor> } {
    if (this.#tables) return this.#tables;
    const byTag = new Map<string, Descriptor>();
    const byDigest = new Map<Digest, Descriptor>();
    for (const entry of this.entries) {
      const { mediaType, digest, size, artifactType } = entry;
      const descriptor = { mediaType, digest, size, ...(artifactType === undefined ? {} : { artifactType }) };
      const tag = tagOf(entry);
      if (tag !== undefined) byTag.set(tag, descriptor);
      byDigest.set(digest, descriptor);
    }
    this.#tables = { byTag, byDigest };
    return this.#tables;
  }
}

/** Reads and replaces one index.json; remembers the last one read while the file is the same. */
export class LayoutIndexFile {
  readonly #files: LayoutFiles;
  #last: { readonly version: string; readonly json: LayoutIndexJson; readonly tags: LayoutTags } | undefined;

  readonly #inspect: (files: LayoutFiles) => Promise<LayoutState>;

  /** `inspect` says what there is as long as no index.json was seen; what was there once is not to be gone. */
  constructor(files: LayoutFiles, inspect = inspectLayout) {
    this.#files = files;
    this.#inspect = inspect;
  }

  /**
   * The tags now; undefined when there is no layout at all.
   *
   * @throws {NixcacheError} ERR_INDEX when the file is there but cannot be understood, or is missing from a layout
   */
  async read(): Promise<LayoutTags | undefined> {
    const path = this.#files.index;
    try {
      // The version is of before the reading: were the file replaced in between, the next call would read it again.
      const version = versionOf(await lstat(path, { bigint: true }));
      if (this.#last?.version === version) return this.#last.tags;
      await this.#files.assertOwn();
      const json = decodeLayoutIndex(await readIndex(path), path);
      const tags = new LayoutTags(json.manifests);
      this.#last = { version, json, tags };
      return tags;
    } catch (cause) {
      if (!isAbsent(cause)) throw ioError('read', path, cause);
      const inspect = this.#last === undefined ? this.#inspect : inspectLayout;
      if ((await inspect(this.#files)) === 'absent') return undefined;
      throw new NixcacheError('ERR_INDEX', `read ${path}: the file is missing; ${RESTORE}`, { cause });
    }
  }

  /** Replaces the tags. The caller holds the layout's lock and has made all that `tags` names durable. */
  async write(tags: LayoutTags): Promise<void> {
    const { path, json } = { path: this.#files.index, json: this.#last?.json };
    const next = { schemaVersion: 2, mediaType: IMAGE_INDEX, ...json, manifests: tags.entries };
    this.#last = undefined;
    await replaceFile(this.#files, path, JSON.stringify(next));
  }
}

const RESTORE = 'restore it from a backup, or move the directory away and publish anew';

async function readIndex(path: string): Promise<string> {
  return (await readRegular(path, { links: 'refused', maxBytes: MAX_INDEX_BYTES })).toString('utf8');
}

/** @throws {NixcacheError} ERR_INDEX: an index that is not understood must never be taken for an empty one */
function decodeLayoutIndex(text: string, path: string): LayoutIndexJson {
  try {
    return layoutIndexSchema.parse(parseBoundedJson(text, { maxValues: MAX_INDEX_VALUES }));
  } catch (cause) {
    throw new NixcacheError('ERR_INDEX', `read ${path}: it is no OCI image index: ${messageOf(cause)}; ${RESTORE}`, {
      cause,
    });
  }
}

const tagOf = (entry: Entry): string | undefined => entry.annotations?.[REF_NAME];

/** Differs for every replacement: a rename brings another inode, and a re-used inode another time. */
const versionOf = (stats: BigIntStats): string => `${stats.ino} ${stats.size} ${stats.mtimeNs} ${stats.ctimeNs}`;
