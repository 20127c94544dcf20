# package-lock.json names no registry, so that any npm and any mirror can use it. importNpmLock of nixpkgs wants URLs:
# here each package gets that of the public registry. What the hashes say decides, not where the bytes come from.
lock:
let
  last = list: builtins.elemAt list (builtins.length list - 1);
  nameOf = path: entry: entry.name or (last (builtins.filter builtins.isString (builtins.split "node_modules/" path)));
  fileOf = name: last (builtins.filter builtins.isString (builtins.split "/" name));
  withUrl =
    path: entry:
    let
      name = nameOf path entry;
    in
    if path == "" || entry ? resolved then
      entry
    else
      entry // { resolved = "https://registry.npmjs.org/${name}/-/${fileOf name}-${entry.version}.tgz"; };
  # npm needs the packages of this platform only; those of others have no hash here, since no registry was asked for them.
  isKnown = path: path == "" || (lock.packages.${path} ? integrity);
  known = builtins.filter isKnown (builtins.attrNames lock.packages);
in
lock
// {
  packages = builtins.listToAttrs (
    map (path: {
      name = path;
      value = withUrl path lock.packages.${path};
    }) known
  );
}
