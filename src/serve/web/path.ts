/** All about one path. */
import type { Entry } from '../../cache-index/entry.ts';
import { currentPins, currentRoots } from '../../cache-index/records.ts';
import { neededBy } from '../../census/inventory-walks.ts';
import { findSigner, type PublicKey } from '../../nix/signature.ts';
import { type BaseName, baseNameOf, hashPartOf, nameOf, storeDirOf } from '../../nix/store-path.ts';
import { formatNumber } from '../../quantity.ts';
import type { Counted, Figures } from './counting.ts';
import { type Html, type HtmlValue, html } from './html.ts';
import { pager, pagingOf } from './paging.ts';
import { badge, bytes, counted, notice, ofSeconds, type Place, pathLink, query, time } from './parts.ts';
import { reasonText } from './reasons.ts';
import type { Site, Visit } from './site.ts';
import { notRead, stillCounting } from './still-counting.ts';

const LISTED = 100;

export async function pathBody(site: Site, visit: Visit, entry: Entry, state: Counted): Promise<Html> {
  const { narInfo } = entry;
  const { place } = visit;
  const { trust, withheld } = site.options;
  const base = baseNameOf(narInfo.path);
  const hashPart = hashPartOf(base);
  const keys = await site.keys(visit);
  const figures = state.state === 'counted' ? state.figures : undefined;
  const number = figures?.inventory.find(hashPart);
  const closure =
    figures !== undefined && number !== undefined ? await site.closureOf(figures, number, visit) : undefined;
  const isAllowed = trust.allows(narInfo);
  const isWithheld = withheld.has(narInfo.fileHash);
  const isServed = isAllowed && !isWithheld;
  return html`<p class="crumbs"><a href="${place.root}/entries">Entries</a></p>
<h1>${nameOf(base)}</h1>
<p class="storepath" tabindex="0" aria-label="Store path">${narInfo.path}</p>
${isServed && actions(entry, place)}
${!isAllowed && notice('This path is not served.', 'No key that this server trusts has signed it.')}
${isWithheld && notice('This path is not served for now.', 'Its NAR was found damaged or gone.')}
<dl class="facts">
${fact('NAR', html`${bytes(narInfo.narSize)} unpacked, ${bytes(narInfo.fileSize)} as ${narInfo.compression}`)}
${fact('Closure', closure === undefined ? '…' : html`${counted(closure.paths, 'path')}, ${bytes(closure.narBytes)} unpacked, ${bytes(closure.fileBytes)} compressed${closure.missing > 0 && html`; ${counted(closure.missing, 'reference')} to paths that are not in this cache`}`)}
${figures !== undefined && number !== undefined && fact('Last needed', time(ofSeconds(figures.inventory.assertedOf(number)), place))}
${fact('Signatures', signatures(entry, keys))}
${fact('NAR hash', html`<code class="break">${narInfo.narHash}</code>`)}
${fact('File hash', html`<code class="break">${narInfo.fileHash}</code>`)}
${narInfo.deriver !== undefined && fact('Deriver', html`<code class="break">${narInfo.deriver}</code>`)}
${narInfo.ca !== undefined && fact('Content address', html`<code class="break">${narInfo.ca}</code>`)}
</dl>
${state.state !== 'counted' && stillCounting(state)}
${figures !== undefined && number !== undefined && (await whyKept(site, visit, figures, number))}
<div class="columns">${await references(entry, site, place)}${figures !== undefined && number !== undefined && (await dependents(site, visit, figures, number, hashPart))}</div>`;
}

/** Of its build log nothing is known here. */
function actions({ narInfo: { path, url } }: Entry, { root }: Place): Html {
  const targets = {
    Files: `${storeDirOf(path)}/${baseNameOf(path)}`, // which may be a file itself
    narinfo: `/${hashPartOf(path)}.narinfo`,
    NAR: `/${url}`,
  };
  const links = Object.entries(targets).map(([name, target]) => html`<li><a href="${root}${target}">${name}</a></li>`);
  return html`<ul class="actions">${links}</ul>`;
}

const fact = (name: string, value: HtmlValue): Html => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;

function signatures({ narInfo }: Entry, keys: readonly PublicKey[]): Html {
  if (narInfo.sigs.length === 0)
    return narInfo.ca === undefined ? badge('bad', 'none') : badge('dull', 'none; its content address vouches for it');
  return html`<ul class="plain">${narInfo.sigs.map((sig) => {
    const keyName = sig.slice(0, sig.indexOf(':'));
    const named = keys.filter(({ name }) => name === keyName);
    const isValid = named.length > 0 && findSigner({ ...narInfo, sigs: [sig] }, named) !== undefined;
    const verdict =
      named.length === 0
        ? badge('dull', 'unknown key')
        : isValid
          ? badge('good', 'verified')
          : badge('bad', 'does not verify');
    return html`<li><code class="break">${keyName}</code> ${verdict}</li>`;
  })}</ul>`;
}

async function whyKept(site: Site, visit: Visit, figures: Figures, number: number): Promise<Html> {
  const { place, signal } = visit;
  const known = await site.records(visit);
  if (!('records' in known)) return notRead(known);
  const { records } = known;
  const why = (await site.keeping(figures, records)).why(number);
  const through =
    why === undefined || why.through === number
      ? undefined
      : await site.baseNameOf(figures.inventory.hashPartOf(why.through));
  const isNeeding = await neededBy(figures.inventory, number, site.slices(signal));
  const isReaching = ({ path }: { readonly path?: BaseName | undefined }): boolean => {
    const at = path === undefined ? undefined : figures.inventory.find(hashPartOf(path));
    return at !== undefined && isNeeding(at);
  };
  const names = (all: readonly { readonly name: string }[]): Html => {
    const unique = [...new Set(all.map(({ name }) => name))].sort();
    const more = unique.length - LISTED;
    return html`<ul class="tags">${unique.slice(0, LISTED).map((name) => html`<li>${name}</li>`)}${more > 0 && html`<li>and ${formatNumber(more)} more</li>`}</ul>`;
  };
  const roots = currentRoots(records.roots).filter(isReaching);
  const pins = currentPins(records.pins).filter(isReaching);
  const verdict =
    records.unreadable.length > 0
      ? html`<p>gc would stop and drop nothing: it cannot read all of the cache.</p>`
      : why === undefined
        ? html`<p>${badge('dull', 'Would be dropped')} by a gc that ran now: nothing that it keeps needs it.</p>`
        : html`<p>${badge('good', 'Kept')} by ${reasonText(why.reason, place)}${through !== undefined && html`, through ${pathLink(through, place)}`}.</p>`;
  return html`<section aria-labelledby="kept"><h2 id="kept">Why it is here</h2>${verdict}
${roots.length > 0 && html`<h3>In the closure of roots <span class="count">${formatNumber(roots.length)}</span></h3>${names(roots)}`}
${pins.length > 0 && html`<h3>In the closure of pins <span class="count">${formatNumber(pins.length)}</span></h3>${names(pins)}`}</section>`;
}

async function references({ narInfo }: Entry, site: Site, place: Place): Promise<Html> {
  const base = baseNameOf(narInfo.path);
  const all = narInfo.references.filter((path) => path !== base).toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const items: Html[] = [];
  for (const path of all.slice(0, LISTED * 10)) {
    const isThere = (await site.options.reader.findEntry(hashPartOf(path))) !== undefined;
    items.push(
      html`<li>${isThere ? pathLink(path, place) : html`<span class="path" title="${path}">${nameOf(path)}</span> ${badge('dull', 'elsewhere')}`}</li>`,
    );
  }
  return html`<section aria-labelledby="refers"><h2 id="refers">Refers to <span class="count">${formatNumber(all.length)}</span></h2>
${all.length === 0 ? html`<p class="note">No other path.</p>` : html`<ul class="paths">${items}</ul>`}</section>`;
}

async function dependents(
  site: Site,
  { place, parameters }: Visit,
  figures: Figures,
  number: number,
  hashPart: string,
): Promise<Html> {
  const { inventory } = figures;
  const all = [...inventory.dependentsOf(number)].sort((a, b) => inventory.names.compare(a, b) || a - b);
  const paging = pagingOf(parameters.get('page'), all.length, LISTED);
  const shown = await site.named(figures, all.slice(paging.start, paging.end));
  return html`<section aria-labelledby="referred"><h2 id="referred">Referred to by <span class="count">${formatNumber(all.length)}</span></h2>
${all.length === 0 ? html`<p class="note">No other path.</p>` : html`<ul class="paths">${shown.map(({ path }) => html`<li>${pathLink(path, place)}</li>`)}</ul>`}
${pager(paging, (page) => `${place.root}/path/${hashPart}${query({ page: page === 1 ? undefined : page })}`, 'Pages of what refers to it')}</section>`;
}
