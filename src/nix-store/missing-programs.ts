/** What is said where a program is missing, whoever runs it: Nix or we. */

export const NO_GIT = 'no git found, which flakes in git need: install git, or put it on PATH';

export const noNix = (program: string): string =>
  `no Nix found: there is no program '${program}' on PATH; ` +
  'install Nix from https://nixos.org/download (Debian: apt-get install nix-bin), or put it on PATH';
