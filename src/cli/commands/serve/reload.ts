/** What of the settings a running server takes on, at its start and after each SIGHUP. */
import { INDEX_DIRECTORY } from '../../../config/cache-reference.ts';
import { type ServeCache, serveCaches } from '../../../config/serve-caches.ts';
import type { ServeSettings } from '../../../config/serve-settings.ts';
import { resolve } from '../../../config/setting.ts';
import { messageOf } from '../../../errors.ts';
import { parsePublicKey } from '../../../nix/signature.ts';
import type { ServeOptions } from '../../../serve/serve-options.ts';
import { PROMPT } from '../../../upstream/patience.ts';
import { sourcesOf } from '../../context.ts';
import type { Session } from '../../session/session.ts';
import { accessOf } from './access.ts';

export type ReloadableOptions = Omit<ServeOptions, 'reader' | 'objects' | 'spools' | 'onEvent'>;

/** @throws {NixcacheError} ERR_USAGE, ERR_KEY */
export async function optionsOf(session: Session, settings: ServeSettings): Promise<ReloadableOptions> {
  const keys = await session.signingKeys(settings.signingKeys);
  return {
    upstreams: session.upstreams(settings.upstreams, { patience: PROMPT }),
    trustedPublicKeys: settings.trustedPublicKeys.map(parsePublicKey),
    publicKeys: keys.map(({ publicKey }) => publicKey.text),
    signingKeys: keys,
    access: await accessOf(session, settings),
    redirect: settings.redirect,
    priority: settings.priority,
    retention: settings.retention,
    indexTtlMs: settings.indexTtlSeconds * 1000,
    storeHost: settings.storeHost,
  };
}

/** Who is told of each reload. */
interface ReloadWatch {
  begun(): void;
  ended(): void;
}

/** What there is for each cache, and the settings of the first. */
type Apply = (options: readonly ReloadableOptions[], settings: ServeSettings) => void;

/** SIGHUP from the first on: one that comes while the server starts counts as well. */
export class Reloading {
  readonly #session: Session;
  /** Of what only a restart changes, by its name in the config file. */
  readonly #fixed: Readonly<Record<string, unknown>>;
  #apply: Apply | undefined;
  #refresh: () => void = () => {};
  #watch: ReloadWatch | undefined;
  #isAsked = false;
  #isRunning = false;

  constructor(session: Session, caches: readonly [ServeCache, ...ServeCache[]]) {
    this.#session = session;
    this.#fixed = fixedOf(caches);
    session.context.onHangUp = () => {
      this.#isAsked = true;
      void this.#run();
    };
  }

  /** `apply` takes what was read; `refresh` goes on with what there is, where nothing can be read. */
  begin(apply: Apply, refresh: () => void, watch?: ReloadWatch): void {
    this.#apply = apply;
    this.#refresh = refresh;
    this.#watch = watch;
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#isRunning || this.#apply === undefined) return;
    this.#isRunning = true;
    while (this.#isAsked) {
      this.#isAsked = false;
      this.#watch?.begun();
      await this.#reload(this.#apply);
      this.#watch?.ended();
    }
    this.#isRunning = false;
  }

  async #reload(apply: Apply): Promise<void> {
    const { context } = this.#session;
    const { output, signal } = context;
    try {
      const sources = await sourcesOf(this.#session.sources.flags, context);
      const caches = serveCaches(sources);
      const options: ReloadableOptions[] = [];
      for (const { settings } of caches) options.push(await optionsOf(this.#session, settings));
      if (signal.aborted) return;
      const fixed = fixedOf(caches);
      const unchanged = Object.keys(fixed).filter((name) => fixed[name] !== this.#fixed[name]);
      if (unchanged.length > 0) output.warn(`what is new of ${unchanged.join(', ')} counts only after a restart`);
      // Which caches there are is fixed: what is said of others is for later.
      apply(fixed[CACHES] === this.#fixed[CACHES] ? options : options.slice(0, 1), caches[0].settings);
      output.info(
        `SIGHUP: settings read again${sources.config.file === undefined ? '' : `, from ${sources.config.file}`}`,
      );
    } catch (error) {
      this.#refresh();
      output.warn(`SIGHUP: the settings stay as they were, for the new ones cannot be used: ${messageOf(error)}`);
    }
  }
}

const CACHES = 'serve.cache';

/** An index directory that nobody named goes with the cache. */
const fixedOf = ([{ cache, settings, sources }, ...others]: readonly [ServeCache, ...ServeCache[]]): Readonly<
  Record<string, unknown>
> => ({
  cache: cache.name,
  ...{
    'serve.listen': settings.listen,
    'serve.port': settings.port,
    'serve.socket_mode': settings.socketMode,
    'serve.index_dir': resolve(INDEX_DIRECTORY, sources),
    'serve.disk_cache': settings.diskCache?.maxBytes,
    'serve.disk_cache_dir': settings.diskCache?.directory,
    [CACHES]: others
      .map(({ prefix, cache, settings }) => `${prefix} ${cache.name} ${settings.indexDirectory}`)
      .join('\n'),
  },
});
