#!/bin/sh
# Rebuilds the vectors in this directory with the Nix that is installed. They are bytes from Nix 2.8.0 and are meant to
# stay: run this only to add one, and look at the difference. Nothing here may be written by nixcache itself.
set -eu
golden=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache" HOME="$work"
nix() { command nix --extra-experimental-features 'nix-command flakes' "$@"; }

# NARs, and their hashes as Nix computes them.
mkdir "$work/trees"
node "$golden/plant.ts" "$work/trees"
for tree in "$work"/trees/*; do
  nix-store --dump "$tree" >"$golden/nar/$(basename "$tree").nar"
done
(cd "$work/trees" && for tree in *; do echo "$tree $(nix-hash --type sha256 --base32 "$tree")"; done) >"$golden/nar/hashes.txt"

# A signed narinfo and a listing. The key is the published throw-away key of the tests.
key='test.example.org-1:ZnVtVJDpyvfxF2cQhTXZmhpFh3b+1Feogn4g8t34nrLyxYyaAaGoHzpy6d0bfaKzFng8oTYRsTaeHXORbGrO2g=='
printf %s "$key" >"$work/secret"
cat >"$work/default.nix" <<'NIX'
let
  make = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
  };
  dep = make "dep" "echo dep > $out";
in
make "app-1.0" "echo ${dep} $out > $out"
NIX
app=$(nix-build --no-out-link --option sandbox false --option substitute false "$work/default.nix")
nix copy --to "file://$work/flat?compression=xz&secret-key=$work/secret" "$app"
for file in "$work"/flat/*.narinfo; do
  cp "$file" "$golden/narinfo/$(sed -n 's/^StorePath: .*\/[^-]*-//p' "$file").narinfo"
done
added=$(nix-store --add "$work/trees/tree")
nix copy --to "file://$work/listed?compression=none&write-nar-listing=1" "$added"
cp "$work"/listed/*.narinfo "$golden/narinfo/content-addressed.narinfo"
cp "$work"/listed/*.ls "$golden/listing/tree.ls"
cp "$work/listed/nix-cache-info" "$golden/nix-cache-info"
chmod -R u+w "$golden"
