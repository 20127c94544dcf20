# Real software without nixpkgs: one derivation for each Debian package in `table` (JSON, see debian-packages.ts), and
# one that refers to all of them. `tiny` is 400 paths of a few hundred bytes that refer to nothing.
#
# `lists` stays a string: the file lists must not be copied into the store. `fileListHash` is what rebuilds a package
# whose list changed.
{ table, lists }:
let
  packages = builtins.fromJSON (builtins.readFile table);
  build =
    {
      name,
      fileList ? "",
      fileListHash ? "",
      dependencies,
    }:
    derivation {
      inherit name fileList fileListHash dependencies;
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [ ./builder.sh ];
    };
  byPackage = builtins.listToAttrs (
    map (entry: {
      name = entry.package;
      value = build {
        inherit (entry) name fileListHash;
        fileList = "${lists}/${entry.package}";
        dependencies = map (dependency: byPackage.${dependency}) entry.dependencies;
      };
    }) packages
  );
in
{
  closure = build {
    name = "debian-closure";
    dependencies = builtins.attrValues byPackage;
  };
  tiny = builtins.genList (
    number:
    derivation {
      name = "tiny-${toString number}";
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [
        "-c"
        "echo $text > $out"
      ];
      text = toString (
        builtins.genList (line: builtins.hashString "sha256" "${toString number}.${toString line}") 8
      );
    }
  ) 400;
}
