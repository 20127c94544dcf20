// A few files a command instead of four hundred modules: starting costs 100 ms less. Types are checked apart.
import { defineConfig, type InputOptions, type OutputOptions, type RolldownOptions } from 'rolldown';

/**
 * undici as the few of its classes that we use: its index holds five times as much, and all of it would be loaded. The index
 * also gives its dispatchers the methods that proxies are reached with.
 */
const UNDICI = [
  "import dispatcher from 'undici/lib/dispatcher/dispatcher.js';",
  "import api from 'undici/lib/api/index.js';",
  'Object.assign(dispatcher.prototype, api);',
  ...['agent', 'pool', 'proxy-agent', 'socks5-proxy-agent'].map((file) => {
    const name = file.replace(/(?:^|-)./g, (start) => start.replace('-', '').toUpperCase());
    return `export { default as ${name} } from 'undici/lib/dispatcher/${file}.js';`;
  }),
];

const COMMON = {
  platform: 'node',
  // What a chunk loads with it is decided below, by groups.
  checks: { ineffectiveDynamicImport: false },
  plugins: [
    {
      name: 'less-undici',
      resolveId: (id) => (id === 'undici' ? '\0undici' : undefined),
      load: (id) => (id === '\0undici' ? UNDICI.join('\n') : undefined),
    },
  ],
  // Native code, and what only gc on GHCR needs.
  external: ['@napi-rs/lzma', /^@octokit\//, 'bottleneck'],
} satisfies InputOptions;

const OUTPUT = { dir: 'dist', format: 'esm', entryFileNames: '[name].js' } satisfies OutputOptions;

const ALONE = { ...COMMON, output: { ...OUTPUT, codeSplitting: false } } satisfies RolldownOptions;

const MAIN = /\/src\/cli\/main\.ts$/;
const ARGUMENTS = /\/src\/cli\/(?:standard-input|store-path-argument)\.ts$/;
/** What asks Nix: it is loaded before the rest, and brings 250 KB that servers do not want. */
const NIX = /\/src\/nix-store\/(?:nix-command|local-store)\.ts$/;

export default defineConfig([
  {
    ...COMMON,
    input: { 'cli/main': 'src/cli/main.ts' },
    output: {
      ...OUTPUT,
      chunkFileNames: 'lib/[name]-[hash].js',
      cleanDir: true,
      // Each file costs a start half a millisecond, so what most commands load is in two. Not so `main`: the others wait
      // for its end if they import from where it is.
      codeSplitting: {
        groups: [
          { name: 'start', tags: ['$initial'], test: (id) => !MAIN.test(id), priority: 1 },
          { name: 'zod', test: /\/node_modules\/zod\//, priority: 1 },
          { name: 'nix', test: NIX, priority: 1 },
          { name: 'arguments', test: ARGUMENTS, priority: 1 },
          { name: 'shared', minShareCount: 5, test: (id) => /\/src\//.test(id) && !MAIN.test(id) },
        ],
      },
    },
  },
  // Each alone in its file, for they are loaded without the rest.
  { ...ALONE, input: { 'cli/environment-block': 'src/cli/environment-block.ts' } },
  { ...ALONE, input: { 'lib/nar-worker': 'src/nar/nar-worker.ts' } },
]);
