/** What `push` begins with while the rest of it is loaded: Nix takes as long to list a closure as we do to get ready. */

import type { StorePath } from '../../../nix/store-path.ts';
import { askAhead, usualStoreDir } from '../../../nix-store/local-store.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import type { Call } from '../../command.ts';
import { readPathList } from '../../standard-input.ts';
import { resolveStorePath } from '../../store-path-argument.ts';

export interface Started {
  /** As the user gave them. */
  readonly texts: readonly string[];
  /** Asked for their closure already, if it is plain which paths they are; it is said later what is wrong with the others. */
  readonly command: NixCommand;
}

/** @throws {NixcacheError} ERR_USAGE */
export async function startWithClosure(call: Call): Promise<Started> {
  const { cwd, signal } = call.context;
  const texts = await readPathList(call.args, call);
  const command = new NixCommand({ cwd });
  const where = { storeDir: usualStoreDir(command), cwd, what: 'push' };
  const resolved = await Promise.all(texts.map((text) => resolveStorePath(text, where).catch(() => undefined)));
  const paths = new Set(resolved.filter((path): path is StorePath => path !== undefined));
  if (!resolved.includes(undefined)) askAhead(command, [...paths], { signal });
  return { texts, command };
}
