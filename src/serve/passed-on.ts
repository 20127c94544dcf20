/**
 * What is passed on from upstreams as they have it: build logs, entries of the build trace, and where debug symbols are. What
 * cannot be told is a miss.
 */
import type { Readable } from 'node:stream';
import { messageOf, NixcacheError } from '../errors.ts';
import {
  type BuildTraceEntry,
  formatBuildTraceEntry,
  parseBuildTraceEntry,
  parseBuildTraceKey,
} from '../nix/build-trace.ts';
import { formatDebugInfo, isDebugInfoName, parseDebugInfo } from '../nix/debug-info.ts';
import { isBaseName } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { type Answer, type AskOptions, NOT_FOUND, type OpenOptions, SHORT_LIVED, textAnswer } from './answer.ts';
import { type AskUpstreamsOptions, askUpstreams } from './ask-upstreams.ts';
import type { StoreDirs } from './store-dirs.ts';
import type { Trust } from './trust.ts';
import { fileHashIn } from './upstream-nars.ts';

export interface PassedOnOptions extends Omit<AskUpstreamsOptions<Upstream>, 'upstreams'> {
  readonly storeDirs: Pick<StoreDirs, 'usable'>;
  readonly trust: Pick<Trust, 'allowsBuildTrace'>;
}

/** 64 KiB: a path with some signatures. */
const MAX_SMALL_BYTES = 64 * 1024;
const PLAIN_TEXT = ['Content-Type', 'text/plain; charset=utf-8', 'X-Content-Type-Options', 'nosniff'];

/** `/log/<base name of a derivation>`, streamed: some have hundreds of megabytes. Never rejects. */
export function logAnswer(options: PassedOnOptions, path: string, ask: AskOptions): Promise<Answer> {
  const name = path.slice('/log/'.length);
  if (!isBaseName(name)) return Promise.resolve(NOT_FOUND);
  const url = `log/${inUrl(name)}`;
  return orMiss(options, path, async () => {
    const find = async (upstream: Upstream, asked: AskOptions) => {
      const facts = await upstream.statFile(url, asked);
      return facts && { upstream, size: facts.size };
    };
    const found = await askUpstreams({ ...options, upstreams: options.storeDirs.usable }, path, find, ask);
    if (found === undefined) return NOT_FOUND;
    const { upstream, size } = found;
    const open = async ({ signal, range }: OpenOptions): Promise<Readable> => {
      const file = await upstream.openFile(url, { signal, range, via: ask.via });
      if (file === undefined) throw new NixcacheError('ERR_NOT_FOUND', `${upstream.name}/${url} is not there any more`);
      return file.body;
    };
    return { status: 200, headers: [...PLAIN_TEXT, 'Cache-Control', SHORT_LIVED], body: { size, open } };
  });
}

/** `/build-trace-v2/<derivation>/<output>.doi`, as clients since Nix 2.35 ask for it. Never rejects. */
export function buildTraceAnswer(options: PassedOnOptions, path: string, ask: AskOptions): Promise<Answer> {
  const key = parseBuildTraceKey(/^\/build-trace-v2\/(.+)\.doi$/.exec(path)?.[1] ?? '');
  if (key === undefined) return Promise.resolve(NOT_FOUND);
  const file = {
    url: `build-trace-v2/${inUrl(key.drvPath)}/${inUrl(key.outputName)}.doi`,
    ...{ maxBytes: MAX_SMALL_BYTES, parse: (text: string) => parseBuildTraceEntry(text, key) },
  };
  const find = async (upstream: Upstream, asked: AskOptions): Promise<BuildTraceEntry | undefined> => {
    const entry = await upstream.fetchFile(file, asked);
    return entry && options.trust.allowsBuildTrace(entry) ? entry : undefined;
  };
  return jsonAnswerOf(options, path, find, formatBuildTraceEntry, ask);
}

/** `/debuginfo/<build id>.debug`, where its NAR is one that we can give as well. Never rejects. */
export function debugInfoAnswer(options: PassedOnOptions, path: string, ask: AskOptions): Promise<Answer> {
  const name = path.slice('/debuginfo/'.length);
  if (!isDebugInfoName(name)) return Promise.resolve(NOT_FOUND);
  const file = { url: `debuginfo/${name}`, maxBytes: MAX_SMALL_BYTES, parse: parseDebugInfo };
  const find = async (upstream: Upstream, asked: AskOptions) => {
    const found = await upstream.fetchFile(file, asked);
    return found && fileHashIn(found.archive) !== undefined ? found : undefined;
  };
  return jsonAnswerOf(options, path, find, formatDebugInfo, ask);
}

function jsonAnswerOf<T>(
  options: PassedOnOptions,
  path: string,
  find: (upstream: Upstream, asked: AskOptions) => Promise<T | undefined>,
  format: (found: T) => string,
  ask: AskOptions,
): Promise<Answer> {
  return orMiss(options, path, async () => {
    const found = await askUpstreams({ ...options, upstreams: options.storeDirs.usable }, path, find, ask);
    return found === undefined ? NOT_FOUND : textAnswer(format(found), 'application/json', SHORT_LIVED);
  });
}

async function orMiss({ onEvent }: PassedOnOptions, path: string, act: () => Promise<Answer>): Promise<Answer> {
  try {
    return await act();
  } catch (error) {
    onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    return NOT_FOUND;
  }
}

/** A name of Nix's in a URL, where all that it may have but this stands for itself. */
const inUrl = (name: string): string => name.replaceAll('?', '%3F');
