/** What a copy brings that no client takes as it is. */
import type { NarInfo } from '../nix/nar-info.ts';
import { formatCount } from '../quantity.ts';
import type { CopyOptions } from './copy-options.ts';

/** Whether nobody has signed `narInfo` once it is copied, and it needs that: its content does not say its path. */
export const isUnsigned = ({ sigs, ca }: NarInfo, { keys }: Pick<CopyOptions, 'keys'>): boolean =>
  keys.length === 0 && sigs.length === 0 && ca === undefined;

export function warnOfUnsigned(count: number, { onEvent }: Pick<CopyOptions, 'onEvent'>): void {
  if (count === 0) return;
  onEvent({
    type: 'warning',
    message:
      `${formatCount(count, 'path has', 'paths have')} no signature, and none is made without a key: Nix clients refuse them ` +
      'unless they set require-sigs = false; sign them with --key-file FILE',
  });
}
