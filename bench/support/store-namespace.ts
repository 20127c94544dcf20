export interface Command {
  readonly file: string;
  readonly args: readonly string[];
}

/**
 * Runs `command` with a Nix store of our own at the usual place: `root`/nix is bound to /nix in a mount namespace that
 * ends with the command, so that every program in it finds logical and physical paths to be the same, and the machine's
 * own store is neither seen nor touched. /nix has to exist.
 *
 * Works as root, or as anyone where user namespaces are allowed.
 */
export function inStore(root: string, { file, args }: Command): Command {
  const user = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const script = 'mount --bind "$0" /nix; exec "$@"';
  return {
    file: 'unshare',
    args: [...user, '--mount', '--propagation', 'private', 'sh', '-ec', script, `${root}/nix`, file, ...args],
  };
}
