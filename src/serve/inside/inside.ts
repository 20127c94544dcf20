/** `/nix/store/…`: files and directories inside of NARs, the cache's and the upstreams'. */
import { LRUCache } from 'lru-cache';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import { canDecompress } from '../../nar/decompress.ts';
import { formatNarListing, type NarNode } from '../../nar/nar-listing.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import { baseNameOf, HASH_PART_LENGTH, type HashPart, nameOf } from '../../nix/store-path.ts';
import { readBounded } from '../../streams/verify.ts';
import {
  type Answer,
  type AskOptions,
  isFileBody,
  NOT_FOUND,
  type OpenOptions,
  SHORT_LIVED,
  statusAnswer,
  textAnswer,
} from '../answer.ts';
import { parseAnyNarInfo } from '../any-nar-info.ts';
import { matches } from '../negotiate.ts';
import type { ServeEvent } from '../serve-options.ts';
import { BusyError } from './busy.ts';
import { looksLikeText, SAMPLE_BYTES, typeByContents, typeByName } from './content-type.ts';
import { Contents, type InsideLimits } from './contents.ts';
import { directoryJson, directoryPage } from './directory-page.ts';
import { fileAnswer, fileTag, redirectAnswer, tellingAnswer, unchangedAnswer } from './file-answers.ts';
import type { AnswerNar } from './nar-bytes.ts';
import { type Resolved, resolveNames } from './resolve.ts';
import { encodeNames, type StoreTarget } from './store-target.ts';
import type { Survey } from './survey.ts';
import { Trees } from './trees.ts';

export interface InsideOptions {
  /** What clients get who ask for the narinfo, or for the NAR that it names. */
  readonly answerNarInfo: (path: string, options: AskOptions) => Answer | Promise<Answer> | undefined;
  readonly answerNar: AnswerNar;
  /** The listing that was published; undefined when there is none that can be read. */
  readonly findListing: (hashPart: HashPart, options: AskOptions) => Promise<string | Buffer | undefined>;
  /**
   * Whether an entry, its listing and its digests are believed as they stand in the index; else only what was compared with the
   * signed NAR hash.
   */
  readonly trustsIndex: boolean;
  readonly limits?: Partial<InsideLimits> | undefined;
  readonly onEvent: (event: ServeEvent) => void;
}

/** How a file was asked for. */
export interface FileRequest {
  readonly method: string;
  readonly headers: Headers;
  readonly urls: TargetUrls;
}

/** How URLs lead from the file that was asked for to others. */
export interface TargetUrls {
  /** What the URL of the path ends with; empty where the path has a host of its own. */
  readonly rootName: string;
  /** Leads to the path itself, without a slash at its end. */
  readonly own: string;
  /** Leads to another path. */
  of(baseName: string): string;
  /** Leads to the cache's own pages, with a slash at its end; undefined where those are on another host. */
  readonly site?: string | undefined;
}

/** Of files whose names do not tell. */
const MAX_TYPES = 16_384;
/** Seconds, after which there may be a turn. */
const RETRY_AFTER = ['Retry-After', '5'];

export class Inside {
  readonly #options: InsideOptions;
  readonly #contents: Contents;
  readonly #trees: Trees;
  readonly #types = new LRUCache<string, string>({ max: MAX_TYPES });

  constructor(options: InsideOptions) {
    this.#options = options;
    this.#contents = new Contents(options);
    this.#trees = new Trees(options);
  }

  /** Has what was found wrong looked at again. */
  clear(): void {
    this.#contents.clear();
    this.#trees.clear();
  }

  /** What `target` gets. Never rejects; who has left gets anything. */
  async answer(target: StoreTarget, request: FileRequest, ask: AskOptions): Promise<Answer> {
    const options = { ...ask, signal: ask.signal ?? new AbortController().signal };
    try {
      const narInfo = await this.#narInfo(target.hashPart, options);
      if (narInfo === undefined) return NOT_FOUND;
      const { baseName } = target;
      if (baseName !== undefined && baseName !== baseNameOf(narInfo.path)) {
        return tellingAnswer(
          404,
          `There is no ${baseName} here: the path with this hash is called ${nameOf(narInfo.path)}.`,
        );
      }
      return await this.#answer(target, narInfo, request, options);
    } catch (error) {
      return options.signal.aborted ? NOT_FOUND : this.#failed(target.hashPart, error);
    }
  }

  /** `/<32 characters>.ls`, made of the NAR itself; a miss where that is not to be had, or has too many files. */
  async listingAnswer(path: string, ask: AskOptions): Promise<Answer> {
    const hashPart = path.slice(1, 1 + HASH_PART_LENGTH) as HashPart;
    try {
      const narInfo = await this.#narInfo(hashPart, ask);
      const root = narInfo && (await this.#contents.survey(narInfo, ask)).root;
      const text = root && formatNarListing(root);
      return text === undefined ? NOT_FOUND : textAnswer(text.toString(), 'application/json', SHORT_LIVED);
    } catch (error) {
      if (ask.signal?.aborted !== true) this.#failed(hashPart, error);
      return NOT_FOUND;
    }
  }

  async #narInfo(hashPart: HashPart, options: AskOptions): Promise<NarInfo | undefined> {
    const answer = await this.#options.answerNarInfo(`/${hashPart}.narinfo`, options);
    const body = answer?.status === 200 ? answer.body : undefined;
    return body === undefined || isFileBody(body) ? undefined : parseAnyNarInfo(body.toString());
  }

  async #answer(target: StoreTarget, narInfo: NarInfo, request: FileRequest, options: OpenOptions): Promise<Answer> {
    const { method, headers } = request;
    const ifNoneMatch = headers.get('if-none-match');
    const etag = fileTag(narInfo.narHash, target.names);
    if (ifNoneMatch !== null && ifNoneMatch.trim() !== '*' && matches(ifNoneMatch, etag)) return unchangedAnswer(etag);
    const known = this.#contents.known(narInfo);
    // What a listing says is enough, but for the bytes of a file.
    const needsTree = known === undefined ? !this.#contents.isSmall(narInfo) : known.root === undefined;
    const tree = needsTree ? await this.#trees.find(narInfo, options) : undefined;
    if (tree !== undefined) {
      const resolved = resolveNames(narInfo.path, tree, target.names);
      const index = indexOf(resolved, target, request);
      if (index !== undefined) return await this.#answer(index, narInfo, request, options);
      const isFile = resolved.type === 'found' && !resolved.viaLink && resolved.node.type === 'regular';
      if (!isFile) return this.#answerWith(resolved, { target, narInfo, request });
      const isUnread = await this.#hasCheckedBytes(narInfo, options);
      const name = target.names.at(-1) ?? nameOf(narInfo.path);
      const sample = async (): Promise<string> => await this.#typeBySample(etag, narInfo, resolved.node, options);
      const contentType = typeByName(name) ?? (isUnread ? await sample() : undefined);
      if (contentType !== undefined && (isUnread || method === 'HEAD')) {
        return this.#answerWith(resolved, { target, narInfo, request, contentType, isUnread });
      }
    }
    const survey = known ?? (await this.#contents.survey(narInfo, options));
    const root = survey.root ?? tree ?? (await this.#trees.find(narInfo, options));
    if (root === undefined)
      throw new NixcacheError('ERR_UNSUPPORTED', `${narInfo.path} has too many files to look into`);
    const resolved = resolveNames(narInfo.path, root, target.names);
    const index = indexOf(resolved, target, request);
    if (index !== undefined) return await this.#answer(index, narInfo, request, options);
    return this.#answerWith(resolved, { target, narInfo, request, survey });
  }

  #answerWith(resolved: Resolved, found: Found): Answer {
    const { target, request } = found;
    switch (resolved.type) {
      case 'missing':
        return NOT_FOUND;
      case 'loop':
        return tellingAnswer(404, 'There are too many symbolic links on the way, or they lead in a circle.');
      case 'outside':
        return tellingAnswer(
          resolved.isLast ? 200 : 404,
          `A symbolic link out of the store, which is not followed: ${printable(resolved.target)}`,
        );
      case 'elsewhere':
        return redirectAnswer(request.urls.of(resolved.baseName) + encodeNames(resolved.names) + slashOf(target));
      case 'found':
        if (resolved.viaLink) {
          const location = request.urls.own + encodeNames(resolved.names);
          return redirectAnswer(location === '' ? '/' : location + slashOf(target));
        }
        return resolved.node.type === 'directory'
          ? this.#directory(resolved.node.entries, found)
          : this.#file(resolved.node, found);
    }
  }

  #directory(entries: ReadonlyMap<string, NarNode>, { target, narInfo, request }: Found): Answer {
    const { names, hasSlash } = target;
    const last = names.at(-1) ?? request.urls.rootName;
    const ending = { hasSlash: hasSlash || last === '', last };
    const { site } = request.urls;
    const about = site === undefined ? undefined : { site, hashPart: target.hashPart };
    const directory = { entries, trail: [narInfo.path, ...names], ending, about };
    return wantsJson(request.headers) ? directoryJson(directory) : directoryPage(directory);
  }

  /** Whether the bytes of `narInfo`'s NAR are checked as they come, and by what is believed as it stands in the index. */
  async #hasCheckedBytes(narInfo: NarInfo, options: OpenOptions): Promise<boolean> {
    if (!this.#options.trustsIndex || !(await canDecompress(narInfo.compression))) return false;
    const { status, body } = await this.#options.answerNar(`/${narInfo.url}`, options);
    return status === 200 && body !== undefined && isFileBody(body) && body.isPiecewise === true;
  }

  /** What the beginning of a file looks like, which is read once. */
  async #typeBySample(tag: string, narInfo: NarInfo, node: NarNode, options: OpenOptions): Promise<string> {
    const known = this.#types.get(tag);
    if (known !== undefined) return known;
    const range = { offset: offsetOf(node), length: node.type === 'regular' ? Math.min(node.size, SAMPLE_BYTES) : 0 };
    const opened = await this.#contents.openUnread(narInfo, range, options);
    const sample = Buffer.isBuffer(opened) ? opened : await readBounded(opened, SAMPLE_BYTES, narInfo.path);
    const type = typeByContents(looksLikeText(sample));
    this.#types.set(tag, type);
    return type;
  }

  #file(node: NarNode, { target, narInfo, survey, contentType, isUnread = false }: Found): Answer {
    // A directory's URL may end in a slash, a file's cannot; links to a link were resolved.
    if (node.type !== 'regular' || target.hasSlash) return NOT_FOUND;
    const { narHash, path } = narInfo;
    const { size, executable, narOffset } = node;
    const isText = size === 0 || (narOffset !== undefined && survey?.texts.has(narOffset) === true);
    return fileAnswer({
      etag: fileTag(narHash, target.names),
      contentType: contentType ?? typeByName(target.names.at(-1) ?? nameOf(path)) ?? typeByContents(isText),
      executable,
      body: {
        size,
        open: async ({ range = { offset: 0, length: size }, ...options }) => {
          const part = { offset: offsetOf(node) + range.offset, length: range.length };
          if (isUnread) return this.#contents.openUnread(narInfo, part, options);
          return this.#contents.open(narInfo, survey ?? (await this.#contents.survey(narInfo, options)), part, options);
        },
      },
      otherwise: async (error) => this.#failed(target.hashPart, error),
    });
  }

  /** What is told of `error`: to the log all of it, to the client its kind. */
  #failed(hashPart: HashPart, error: unknown): Answer {
    const path = `/${hashPart}.narinfo`;
    if (error instanceof BusyError) return statusAnswer(503, RETRY_AFTER, 'too much is looked into at once; try again');
    this.#options.onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    if (isNixcacheError(error, 'ERR_NOT_FOUND')) return NOT_FOUND;
    return statusAnswer(isNixcacheError(error, 'ERR_UNSUPPORTED') ? 501 : 502);
  }
}

interface Found {
  readonly target: StoreTarget;
  readonly narInfo: NarInfo;
  readonly request: FileRequest;
  /** Undefined while only a listing is known. */
  readonly survey?: Survey | undefined;
  readonly contentType?: string | undefined;
  /** Its bytes are had without all of the NAR. */
  readonly isUnread?: boolean | undefined;
}

/** Where the contents of a file begin. @throws {NixcacheError} ERR_UNSUPPORTED where a listing does not say */
function offsetOf(node: NarNode): number {
  if (node.type === 'regular' && node.narOffset !== undefined) return node.narOffset;
  throw new NixcacheError('ERR_UNSUPPORTED', 'its listing does not say where its files are');
}

/** The page of a directory that has one, where the path has a host of its own, as a site has. */
function indexOf(resolved: Resolved, target: StoreTarget, { urls, headers }: FileRequest): StoreTarget | undefined {
  if (urls.rootName !== '' || !target.hasSlash || resolved.type !== 'found' || resolved.viaLink) return undefined;
  if (resolved.node.type !== 'directory' || wantsJson(headers)) return undefined;
  if (resolved.node.entries.get(INDEX)?.type !== 'regular') return undefined;
  return { ...target, names: [...target.names, INDEX], hasSlash: false };
}

const INDEX = 'index.html';

const slashOf = ({ hasSlash }: StoreTarget): string => (hasSlash ? '/' : '');

/** Whether a program asks, and no browser. */
function wantsJson(headers: Headers): boolean {
  const accept = headers.get('accept') ?? '';
  return /\bapplication\/json\b/i.test(accept) && !/\btext\/html\b/i.test(accept);
}

/** Text of a link, without what a terminal would obey. */
const printable = (text: string): string =>
  text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );

/** Relative ones, which hold under whatever prefix the cache has. */
export function urlsInStore({ hashPart, baseName, names, hasSlash }: StoreTarget, storeDir: string): TargetUrls {
  const rootName = baseName ?? hashPart;
  const up = '../'.repeat(names.length + (hasSlash ? 1 : 0));
  const toStore = up || './';
  const site = up + '../'.repeat(storeDir.split('/').length - 1);
  return { rootName, own: toStore + rootName, of: (other) => toStore + other, site };
}
