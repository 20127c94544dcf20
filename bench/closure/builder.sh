# Copies the files that $fileList names (NUL-separated, relative to /) to $out, and names $dependencies there the way
# nixpkgs does, which is what makes them references. An empty $fileList makes a path that only has references.
set -eu
PATH=/usr/bin:/bin
mkdir -p "$out/nix-support"
if [ -n "$fileList" ]; then
  cd /
  xargs -0 -r cp --parents --no-dereference --preserve=mode,links --target-directory="$out" -- < "$fileList"
fi
echo "$dependencies" > "$out/nix-support/propagated-build-inputs"
