# Store paths as a day's work leaves them: from some hundred bytes to some megabytes, of which most are small, and each
# refers to up to three others. Another `set` has other paths.
{ count, set }:
let
  path =
    number:
    derivation {
      name = "scale-${set}-${toString number}";
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [
        "-ec"
        ''
          PATH=/usr/bin:/bin
          mkdir $out
          echo $references > $out/references
          head -c $size /dev/urandom | od -An -tx1 > $out/data
        ''
      ];
      # 100 bytes to 1 MB of chance, evenly by their logarithm.
      size = 100 * builtins.foldl' (size: _: size * 2) 1 (builtins.genList (n: n) (number - (number / 14) * 14));
      references = map (n: builtins.elemAt paths (number / n)) (
        if number > 20 then
          [
            3
            7
            20
          ]
        else
          [ ]
      );
    };
  paths = builtins.genList path count;
in
paths
