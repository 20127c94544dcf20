/** Pins: set, moved, removed and shown. */
import { currentRoots } from '../../../cache-index/records.ts';
import type { Catalog } from '../../../catalog/catalog.ts';
import { lookUp } from '../../../catalog/look-up.ts';
import { assertPinName, noSuchPin, type PinChange, type PinOptions, removePin, setPin } from '../../../catalog/pin.ts';
import { PIN } from '../../../config/pin-settings.ts';
import { resolveAll, type Values } from '../../../config/setting.ts';
import { NixcacheError } from '../../../errors.ts';
import { type BaseName, baseNameOf, toStorePath } from '../../../nix/store-path.ts';
import type { Call } from '../../command.ts';
import type { CommandContext } from '../../context.ts';
import { EXIT } from '../../exit-codes.ts';
import { openCatalog } from '../../session/open-catalog.ts';
import { Session } from '../../session/session.ts';
import { followPath, notFound, tellAmbiguous } from '../info/not-found.ts';
import { formatPinHistory, pinHistoryJson } from '../info/text.ts';
import { formatPins, pinsJson } from '../list/text.ts';

export async function runPin(call: Call): Promise<void> {
  const { context } = call;
  const { signal } = context;
  await using session = await Session.open(call);
  const act = actOf(call.args, resolveAll(PIN, session.sources));
  const shows = act.kind === 'list' || act.kind === 'history';
  const { catalog, store } = await openCatalog(session, { strict: !shows });
  const options: PinOptions = {
    ...session.provenance,
    ...{ store, catalog, signal, onWarning: session.onWarning },
    now: shows ? () => new Date() : await session.clock(store),
  };
  switch (act.kind) {
    case 'list':
      showPins(catalog, context);
      return;
    case 'history':
      showHistory(act.name, catalog, context);
      return;
    case 'remove':
      tell(await removePin(act.name, options), catalog, context);
      return;
    case 'set': {
      const path = await resolvePath(act.path, catalog, context);
      if (path !== undefined) tell(await setPin(act.name, path, options), catalog, context);
    }
  }
}

type Act =
  | { readonly kind: 'list' }
  | { readonly kind: 'history' | 'remove'; readonly name: string }
  | { readonly kind: 'set'; readonly name: string; readonly path: string };

/** Before anything is read. @throws {NixcacheError} ERR_USAGE */
function actOf([name, path]: readonly string[], { list, remove, history }: Values<typeof PIN>): Act {
  const shown = remove ?? history;
  if (list || shown !== undefined) {
    if (name !== undefined) {
      throw new NixcacheError(
        'ERR_USAGE',
        `pin: '${name}' is one argument too many beside --list, --remove or --history`,
      );
    }
    if (shown === undefined) return { kind: 'list' };
    return { kind: remove === undefined ? 'history' : 'remove', name: shown };
  }
  if (name === undefined || path === undefined) {
    throw new NixcacheError('ERR_USAGE', 'pin: give a name and a store path, or one of --list, --remove and --history');
  }
  assertPinName(name);
  return { kind: 'set', name, path };
}

/** The path in the cache that `text` means; undefined after telling that it means several. */
async function resolvePath(text: string, catalog: Catalog, context: CommandContext): Promise<BaseName | undefined> {
  const { reader, roots } = catalog;
  const found = lookUp(text, catalog);
  switch (found.kind) {
    case 'path': {
      const entry = reader.findEntry(found.hashPart);
      return entry && baseNameOf(entry.narInfo.path);
    }
    case 'name': {
      const pinned = catalog.currentPins.find(({ name }) => name === found.name)?.path;
      const newest = currentRoots(roots.filter(({ name }) => name === found.name)).map(({ path }) => path);
      const [only, ...others] = new Set(newest.length === 0 && pinned !== undefined ? [pinned] : newest);
      if (only === undefined) throw notFound('pin', text, catalog);
      if (others.length === 0) return only;
      return ambiguous(text, [only, ...others], context, reader.storeDir);
    }
    case 'ambiguous':
      return ambiguous(text, found.candidates, context, reader.storeDir);
    case 'absent':
      return await followPath('pin', text, catalog, context);
  }
}

function ambiguous(
  text: string,
  candidates: readonly BaseName[],
  context: CommandContext,
  storeDir: string,
): undefined {
  tellAmbiguous(text, candidates, { output: context.output, storeDir });
  context.exitCode = EXIT.usage;
}

function tell({ name, path, before, segment }: PinChange, { reader }: Catalog, { output }: CommandContext): void {
  const full = (each: BaseName | undefined): string | undefined => each && toStorePath(each, reader.storeDir);
  output.result({ name, path: full(path), before: full(before), segment }, () => '');
  if (segment === undefined) output.info(`${name} is pinned to ${path} already`);
  else if (path === undefined) output.info(`removed ${name}, which was ${before}; gc may drop that now`);
  else output.info(`pinned ${path} as ${name}${before === undefined ? '' : `, which was ${before}`}`);
}

function showPins(catalog: Catalog, { output }: CommandContext): void {
  const { currentPins, reader } = catalog;
  output.result({ cache: reader.name, pins: pinsJson(currentPins, catalog) }, () =>
    formatPins(currentPins, output.tableWidth),
  );
  if (currentPins.length === 0) output.info(`${reader.name} has no pins`);
}

function showHistory(name: string, catalog: Catalog, { output }: CommandContext): void {
  const { pins, reader } = catalog;
  const records = pins.filter((pin) => pin.name === name).toReversed();
  if (records.length === 0) {
    throw noSuchPin(`pin --history ${name}`, catalog);
  }
  output.result({ name, pins: pinHistoryJson(records, reader.storeDir) }, () =>
    formatPinHistory({ pins: records }, output.tableWidth),
  );
}
