#!/usr/bin/env node
// Adds to package-lock.json what npm leaves out when the registry it asks does not hold every platform's packages: the
// optional, platform-bound dependencies, whose versions are pinned by those who want them. Without them `npm ci` refuses
// the lock file, and other platforms would lack their binaries. And takes out which Node each package asks for: an older
// one may run npm, which would then leave optional packages out, while the `node` package's runs them. Run by
// `npm run lock`, after any change to the dependencies.
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));
const { packages } = lock;
const find = (name, among) => name.split('-').find((word) => among.includes(word));
const SYSTEMS = [
  'android',
  'darwin',
  'linux',
  'win32',
  'freebsd',
  'openbsd',
  'netbsd',
  'sunos',
  'aix',
  'openharmony',
  'wasm32',
];
const PROCESSORS = ['arm64', 'x64', 'ia32', 'arm', 'ppc64', 's390x', 'riscv64', 'loong64', 'mips64el'];
let added = 0;
for (const [path, entry] of Object.entries(packages)) {
  if (path === '') continue;
  delete entry.engines;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (packages[`node_modules/${name}`] || packages[`${path}/node_modules/${name}`] || !/^[0-9]/.test(version))
      continue;
    const words = name.split('/').at(-1) ?? name;
    const system = find(words, SYSTEMS);
    if (!system) continue;
    const cpu = words.includes('arm-') ? 'arm' : find(words, PROCESSORS);
    packages[`node_modules/${name}`] = {
      version,
      ...(system === 'wasm32' ? { cpu: ['wasm32'] } : { cpu: [cpu ?? 'x64'], os: [system] }),
      ...(entry.dev ? { dev: true } : {}),
      optional: true,
    };
    added++;
  }
}
const [root, ...rest] = Object.entries(packages);
lock.packages = Object.fromEntries([root, ...rest.sort(([a], [b]) => (a < b ? -1 : 1))]);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} platform packages added`);
