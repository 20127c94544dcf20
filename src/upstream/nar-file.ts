import type { Readable } from 'node:stream';
import type { CallOptions } from '../call-options.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { Upstream } from './upstream.ts';

/** The compressed NAR of `narInfo`, to be opened as often as it takes. */
export interface NarFile extends NarInfo {
  readonly name: string;
  readonly open: (options: CallOptions) => Promise<Readable | undefined>;
}

export const narFileOf = (upstream: Pick<Upstream, 'openFile' | 'name'>, narInfo: NarInfo): NarFile => ({
  ...narInfo,
  name: upstream.name,
  open: async (options) => (await upstream.openFile(narInfo.url, options))?.body,
});
