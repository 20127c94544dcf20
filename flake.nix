{
  description = "Any flake plus any OCI registry is a signed Nix binary cache";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forSystems = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forSystems (pkgs: {
        default = pkgs.buildNpmPackage {
          pname = "nixcache";
          version = (pkgs.lib.importJSON ./package.json).version;
          src = self;
          nodejs = pkgs.nodejs_24;
          npmDeps = pkgs.importNpmLock {
            package = pkgs.lib.importJSON ./package.json;
            packageLock = import ./package-lock.nix (pkgs.lib.importJSON ./package-lock.json);
          };
          npmConfigHook = pkgs.importNpmLock.npmConfigHook;
          # The `node` package fetches a binary for machines without a new enough Node; here there is one.
          npmFlags = [ "--ignore-scripts" ];
          meta.mainProgram = "nixcache";
        };
      });

      devShells = forSystems (pkgs: {
        default = pkgs.mkShell { packages = [ pkgs.nodejs_24 ]; };
      });
    };
}
