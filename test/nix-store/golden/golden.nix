let
  d = name: script: attributes: derivation ({ inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" ("PATH=/usr/bin:/bin; echo building $name >&2; " + script) ]; } // attributes);
in rec {
  lib = d "lib" "echo lib > $out; echo dev $out > $dev" { outputs = [ "out" "dev" ]; };
  app = d "app" "echo $out ${lib} ${builtins.toFile "note" "a note"} > $out" { };
  bad = d "bad" "echo oh no; exit 3" { };
  needs-bad = d "needs-bad" "cat ${bad} > $out" { };
}
