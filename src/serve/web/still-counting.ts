import type { Counted } from './counting.ts';
import { type Html, html } from './html.ts';
import { notice } from './parts.ts';

/** What stands where figures will be. */
export function stillCounting(state: Exclude<Counted, { readonly state: 'counted' }>): Html {
  if (state.state === 'failed') return notice('The entries could not be counted.', state.error);
  const percent = Math.floor(state.progress * 100);
  return html`<div class="notice" role="status"><p><strong>The entries are being counted.</strong></p>
<p><progress max="100" value="${percent}" aria-label="Entries counted">${percent} %</progress> ${percent} %. Figures, lists and search are there once it is done: <a href="">look again</a> in a moment.</p></div>`;
}

/** What stands where roots and pins will be. */
export const notRead = ({ error }: { readonly error: string | undefined }): Html =>
  error === undefined
    ? html`<div class="notice" role="status"><p><strong>Roots and pins are being read.</strong></p><p>There are many of them: <a href="">look again</a> in a moment.</p></div>`
    : notice('Roots and pins could not be read.', error);
