/** Where which page is, and what it takes to make one. */
import { ALPHABET } from '../../nix/nixbase32.ts';
import { HASH_PART_LENGTH, type HashPart } from '../../nix/store-path.ts';
import { type Answer, type AskOptions, NOT_FOUND } from '../answer.ts';
import { Slots } from '../slots.ts';
import { addressOf } from './address.ts';
import type { Figures } from './counting.ts';
import { entriesBody, exactPath, searchOf } from './entries.ts';
import { type Html, html } from './html.ts';
import { overviewBody } from './overview.ts';
import { elsewhere, iconAnswer, pageAnswer, type Section, styleAnswer } from './page.ts';
import { pathBody } from './path.ts';
import { retentionBody } from './retention.ts';
import { historyBody, rootsBody } from './roots.ts';
import type { Site, Visit } from './site.ts';
import { spaceBody } from './space.ts';
import { stillCounting } from './still-counting.ts';
import { upstreamsBody } from './upstreams.ts';

export type FindPage = (path: string, options: AskOptions, request: Request) => Answer | Promise<Answer>;

/** Pages that are made at once: they are for people, and narinfos go first. */
const MAX_MAKING = 4;

interface MadePage {
  readonly title: string;
  readonly section?: Section;
  readonly body: Html;
  readonly status?: 200 | 404;
}

/** Patterns of the app's router, each with its page. */
export function pagesOf(site: Site): readonly (readonly [string, FindPage])[] {
  const slots = new Slots(MAX_MAKING);
  const page =
    (make: (visit: Visit, path: string) => Promise<MadePage | Answer>): FindPage =>
    async (path, { signal }, request) => {
      const parameters = URL.parse(request.url)?.searchParams ?? new URLSearchParams();
      const root = path.lastIndexOf('/') === 0 ? '.' : '..';
      const visit = { parameters, place: { root, now: site.options.now() }, address: addressOf(request), signal };
      try {
        const release = await slots.take({ signal });
        const made = await make(visit, path).finally(release);
        if (!('body' in made && 'title' in made)) return made;
        const { reader, upstreams, version } = site.options;
        const frame = { cache: reader.name, root, version, search: searchOf(parameters) };
        return pageAnswer({ ...made, ...frame, hasUpstreams: upstreams.length > 0 }, made.status);
      } catch (error) {
        if (signal?.aborted) return NOT_FOUND; // for nobody: who asked has left
        throw error;
      }
    };
  const withFigures = async (title: string, visit: Visit, make: (figures: Figures) => Promise<Html>): Promise<Html> => {
    const state = await site.look(visit);
    return state.state === 'counted' ? make(state.figures) : html`<h1>${title}</h1>${stillCounting(state)}`;
  };
  const notFound = (title: string, text: string): MadePage => ({
    ...{ title, status: 404 },
    body: html`<h1>${title}</h1><p class="lead">${text}</p>`,
  });

  return [
    [
      '/',
      page(async (visit) => ({
        title: site.options.reader.name,
        section: 'overview',
        body: await overviewBody(site, visit, await site.look(visit)),
      })),
    ],
    [
      '/entries',
      page(async (visit) => {
        const exact = await exactPath(site, searchOf(visit.parameters));
        if (exact !== undefined) return elsewhere(`path/${exact}`);
        return {
          title: 'Entries',
          section: 'entries',
          body: await withFigures('Entries', visit, (figures) => entriesBody(site, visit, figures)),
        };
      }),
    ],
    [
      '/roots',
      page(async (visit) => {
        const state = await site.look(visit);
        return {
          title: 'Roots and pins',
          section: 'roots',
          body: await rootsBody(site, visit, state.state === 'counted' ? state.figures : undefined),
        };
      }),
    ],
    [
      '/root',
      page(async (visit) => {
        const body = await historyBody(site, visit);
        return body === undefined
          ? notFound('No such root', 'Nothing in this cache was published under that name.')
          : { title: visit.parameters.get('name') ?? 'History', section: 'roots', body };
      }),
    ],
    [
      '/space',
      page(async (visit) => ({
        title: 'Where the bytes are',
        section: 'space',
        body: await withFigures('Where the bytes are', visit, (figures) => spaceBody(site, visit, figures)),
      })),
    ],
    [
      '/retention',
      page(async (visit) => ({
        title: 'Retention',
        section: 'retention',
        body: await withFigures('Retention', visit, (figures) => retentionBody(site, visit, figures)),
      })),
    ],
    ['/upstreams', page(async () => ({ title: 'Upstreams', section: 'upstreams', body: upstreamsBody(site) }))],
    [
      `/path/:hash{[${ALPHABET}]{${HASH_PART_LENGTH}}}`,
      page(async (visit, path) => {
        const hashPart = path.slice(-HASH_PART_LENGTH) as HashPart;
        const entry = await site.options.reader.findEntry(hashPart);
        if (entry === undefined)
          return notFound('Not in this cache', `It has no path with the hash ${hashPart}; an upstream cache may.`);
        return {
          title: entry.narInfo.path.slice(entry.narInfo.path.lastIndexOf('/') + 34),
          section: 'entries',
          body: await pathBody(site, visit, entry, await site.look(visit)),
        };
      }),
    ],
    ['/page.css', () => styleAnswer],
    ['/icon.svg', () => iconAnswer],
  ];
}
