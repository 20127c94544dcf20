/** nix-cache-info: what a binary cache says about itself. Source: NixOS/nix src/libstore/binary-cache-store.cc. */
import { NixcacheError } from '../errors.ts';
import { quoted } from './quoted.ts';

export interface NixCacheInfo {
  readonly storeDir: string;
  readonly wantMassQuery: boolean;
  /** A whole number, lower is asked first; anything else makes Nix fail outright. */
  readonly priority: number;
}

export interface ParsedNixCacheInfo extends Omit<NixCacheInfo, 'storeDir'> {
  /** Undefined where it is not said: then it is for whatever store asks. */
  readonly storeDir: string | undefined;
}

export const formatNixCacheInfo = (info: NixCacheInfo): string =>
  `StoreDir: ${info.storeDir}\nWantMassQuery: ${info.wantMassQuery ? 1 : 0}\nPriority: ${info.priority}\n`;

/**
 * Parses as Nix does: lines without a colon and unknown keys are skipped, what is missing takes Nix's defaults.
 *
 * @throws {NixcacheError} ERR_FORMAT when Priority is no number, which stops Nix outright
 */
export function parseNixCacheInfo(text: string): ParsedNixCacheInfo {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  const priority = fields.get('Priority') ?? '0';
  if (!PRIORITY.test(priority) || Math.abs(Number.parseInt(priority, 10)) > MAX_INT) {
    throw new NixcacheError('ERR_FORMAT', `nix-cache-info is corrupt: Priority ${quoted(priority)} is no whole number`);
  }
  return {
    storeDir: fields.get('StoreDir'),
    wantMassQuery: fields.get('WantMassQuery') === '1',
    priority: Number.parseInt(priority, 10),
  };
}

/** C++'s `stoi`: a sign, digits, and whatever follows is ignored. */
const PRIORITY = /^[+-]?[0-9]+/;
const MAX_INT = 2 ** 31 - 1;
