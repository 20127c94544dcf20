/** How to use the cache: lines to be copied. */
import type { PublicKey } from '../../nix/signature.ts';
import { DEFAULT_STORE_DIR } from '../../nix/store-path.ts';
import { type Html, html } from './html.ts';
import { notice } from './parts.ts';

export interface Usage {
  readonly keys: readonly PublicKey[];
  readonly address: string | undefined;
  readonly isPrivate: boolean;
  readonly storeDir: string;
}

/** Where the address cannot be told. */
const ADDRESS = 'https://THIS-HOST';

export function howToUse({ keys, address = ADDRESS, isPrivate, storeDir }: Usage): Html {
  const texts = keys.map(({ text }) => text);
  const conf = [
    `extra-substituters = ${address}`,
    ...(texts.length === 0 ? [] : [`extra-trusted-public-keys = ${texts.join(' ')}`]),
  ];
  const option = [
    `--option extra-substituters ${address}`,
    ...(texts.length === 0 ? [] : [`--option extra-trusted-public-keys '${texts.join(' ')}'`]),
  ];
  const nixos = [
    'nix.settings = {',
    `  extra-substituters = [ "${address}" ];`,
    ...(texts.length === 0 ? [] : ['  extra-trusted-public-keys = [', ...texts.map((key) => `    "${key}"`), '  ];']),
    '};',
  ];
  const host = URL.parse(address)?.hostname ?? 'THIS-HOST';
  return html`<section aria-labelledby="use"><h2 id="use">Use it</h2>
<p class="lead">Add these lines to <code>nix.conf</code>, on NixOS to the configuration. Selecting a block selects all of it.</p>
${block('In nix.conf', conf, true)}
${block('On NixOS', nixos)}
${block('For one command', ['nix build nixpkgs#hello \\', ...option.map((line, i) => `  ${line}${i === option.length - 1 ? '' : ' \\'}`)])}
${isPrivate && html`<p class="lead">This cache asks for a token. Nix shows it from its netrc file:</p>${block('In the netrc file', [`machine ${host} login any password TOKEN`], true)}`}
${storeDir !== DEFAULT_STORE_DIR && notice('Another store directory.', html`Its paths are of <code>${storeDir}</code>: only a Nix whose store is there can use them.`)}
${texts.length === 0 && notice('No key is known for this cache.', 'Nix takes nothing from it unless something that it trusts has signed the paths. Ask whoever publishes here for a key.')}</section>`;
}

const block = (title: string, lines: readonly string[], isOpen = false): Html =>
  html`<details class="copy"${isOpen ? html` open` : ''}><summary>${title}</summary><pre tabindex="0" role="group" aria-label="${title}"><code>${lines.join('\n')}</code></pre></details>`;
