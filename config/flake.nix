# The flake that nixcache publishes when it is given none: a small world that builds in seconds, anywhere.
#
# It has real dependencies (a compiler, what it compiles, a profile of that, a host and a shell made of the profile) and
# no inputs: nothing is fetched. That is bought with one impurity: builders are the machine's own /bin/sh, awk and
# coreutils from /usr/bin and /bin, so it needs `sandbox = false`, or those directories in `sandbox-paths`. Only what
# POSIX promises is used, so that the results are the same bytes whatever the machine; NixOS has no /usr/bin, and there
# a flake made with nixpkgs is the better example.
{
  description = "a compiler in awk, programs, a manual, a host and a shell";

  outputs =
    { self }:
    let
      # A package set: every function takes from `pkgs` what it needs.
      packagesFor =
        system:
        let
          run =
            name: script: attributes:
            derivation (
              {
                inherit name system;
                builder = "/bin/sh";
                args = [ "-euc" script ];
                PATH = "/usr/bin:/bin";
                LC_ALL = "C";
              }
              // attributes
            );

          pkgs = {
            # Brainfuck to static ELF executables, for this system's machine.
            bfc = run "bfc-1.0" ''
              mkdir -p $out/bin $out/share/bfc
              cp ${./src/bfc.awk} $out/share/bfc/bfc.awk
              cat > $out/bin/bfc <<EOF
              #!/bin/sh
              # bfc < program.bf > executable
              awk -v machine=${machine} -f $out/share/bfc/bfc.awk | while read -r bytes; do printf "\$bytes"; done
              EOF
              chmod +x $out/bin/bfc
            '' { };

            # Text to a Brainfuck program that prints it.
            say = run "say-1.0" ''
              mkdir -p $out/bin $out/share/say
              cp ${./src/say.awk} $out/share/say/say.awk
              printf '#!/bin/sh\nexec awk -f %s/share/say/say.awk\n' $out > $out/bin/say
              chmod +x $out/bin/say
            '' { };

            # A little Markdown to HTML and to manual pages.
            mkdoc = run "mkdoc-1.0" ''
              mkdir -p $out/bin $out/share/mkdoc
              cp ${./src/mkdoc.awk} $out/share/mkdoc/mkdoc.awk
              printf '#!/bin/sh\nexec awk -v to="$1" -f %s/share/mkdoc/mkdoc.awk\n' $out > $out/bin/mkdoc
              chmod +x $out/bin/mkdoc
            '' { };

            hello = compiled "hello" "echo 'Hello from a store path.' | ${pkgs.say}/bin/say";
            motd = compiled "motd" "${pkgs.say}/bin/say < ${./src/motd.txt}";
            tee = compiled "tee" "cat ${./src/tee.bf}";
            countdown = compiled "countdown" "cat ${./src/countdown.bf}";

            # More than a mebibyte: all primes below two million.
            primes = run "primes-1.0" ''
              mkdir -p $out/share/primes
              awk -v limit=2000000 -f ${./src/primes.awk} > $out/share/primes/primes.txt
            '' { };

            manual = run "manual-1.0" ''
              mkdir -p $out/share/doc $man/share/man/man7
              {
                cat ${./src/manual.md}
                for program in ${pkgs.hello} ${pkgs.motd} ${pkgs.tee} ${pkgs.countdown}; do echo "- $program/bin"; done
              } > manual.md
              ${pkgs.mkdoc}/bin/mkdoc html < manual.md > $out/share/doc/index.html
              ${pkgs.mkdoc}/bin/mkdoc man < manual.md > $man/share/man/man7/small-world.7
            '' { outputs = [ "out" "man" ]; };

            # A profile: links into the packages, as `nix profile` makes them.
            default = run "small-world-1.0" ''
              mkdir -p $out/bin $out/share
              for package in ${pkgs.bfc} ${pkgs.say} ${pkgs.mkdoc} ${pkgs.hello} ${pkgs.motd} ${pkgs.tee} ${pkgs.countdown}; do
                ln -s "$package"/bin/* $out/bin/
              done
              ln -s ${pkgs.primes}/share/primes ${pkgs.manual}/share/doc ${pkgs.manual.man}/share/man $out/share/
              : > $out/share/small-world.stamp
            '' { };
          };

          compiled = name: source: run "${name}-1.0" ''
            mkdir -p $out/bin
            ${source} > program.bf
            ${pkgs.bfc}/bin/bfc < program.bf > $out/bin/${name}
            chmod +x $out/bin/${name}
          '' { };

          machine = builtins.head (builtins.split "-" system);
        in
        pkgs // { inherit run; };

      # A host as NixOS shapes them: what matters to Nix is only where its toplevel is.
      hostFor =
        system: hostName:
        let
          pkgs = packagesFor system;
          inherit (pkgs) run;
          unit = name: text: run "unit-${name}" ''
            mkdir -p $out
            printf '%s' "$text" > $out/${name}
          '' { inherit text; };
          motdService = unit "motd.service" ''
            [Unit]
            Description=Message of the day
            [Service]
            Type=oneshot
            ExecStart=${pkgs.motd}/bin/motd
          '';
          motdTimer = unit "motd.timer" ''
            [Timer]
            OnCalendar=daily
            Unit=motd.service
          '';
          etc = run "etc" ''
            mkdir -p $out/systemd/system $out/profile.d
            echo ${hostName} > $out/hostname
            ln -s ${motdService}/motd.service ${motdTimer}/motd.timer $out/systemd/system/
            echo 'export MANPATH=${pkgs.manual.man}/share/man' > $out/profile.d/manual.sh
            : > $out/machine-id
          '' { };
          activate = run "activate" ''
            printf '#!/bin/sh\nln -sfn %s "$1/etc"\nexec %s/bin/motd\n' ${etc} ${pkgs.motd} > $out
            chmod +x $out
          '' { };
        in
        run "nixos-system-${hostName}-1.0" ''
          mkdir -p $out
          ln -s ${pkgs.default} $out/sw
          ln -s ${etc} $out/etc
          cp ${activate} $out/activate
          printf %s ${system} > $out/system
        '' { };

      shellFor =
        system:
        let pkgs = packagesFor system; in
        pkgs.run "small-world-shell" ''
          echo 'export PATH=${pkgs.default}/bin:$PATH' > $out
        '' { };

      systems = [ "x86_64-linux" "aarch64-linux" ];
      forSystems = f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) systems);
    in
    {
      packages = forSystems (system: removeAttrs (packagesFor system) [ "run" ]);
      devShells = forSystems (system: { default = shellFor system; });
      nixosConfigurations = {
        lighthouse.config.system.build.toplevel = hostFor "x86_64-linux" "lighthouse";
        buoy.config.system.build.toplevel = hostFor "aarch64-linux" "buoy";
      };
    };
}
