/** `nixcache list`. */
import { LIST } from '../../../config/list-settings.ts';
import { type CommandSpec, FROM_CACHE, GLOBS } from '../../command.ts';

const JSON_HELP = `JSON:
  With --json, one document; times are in ISO 8601, sizes in bytes.
  list           {cache, storeDir, entries, narBytes, fileBytes, segments, checkpoints, newestPublish,
                 signedBy: [{keyName, entries}], unsigned, publicKeys, roots, pins}
  roots          [{name, system, source, revision, path, published, records,
                 closure: {paths, narBytes, fileBytes, missing, leftOut}}]
  pins           [{name, path, pinned}]
  list --roots   {cache, roots}, list --pins   {cache, pins}
  list --entries one document a line: {path, narBytes, fileBytes, asserted, signedBy}`;

export const LIST_COMMAND: CommandSpec = {
  name: 'list',
  summary: 'show what is in the cache',
  description:
    'Shows what is in the cache: how much, signed by whom, and the newest publish of each root. A glob picks roots, ' +
    'pins and entries by their name, or by their store path.',
  arguments: [['[glob]', "what to show, like 'hello*' or 'packages.*'"]],
  settings: [LIST, FROM_CACHE],
  examples: [
    ['nixcache list', 'see how much there is, and which outputs'],
    ["nixcache list --entries '*-source' --json", 'every path called …-source, one JSON document a line'],
  ],
  notes: `${GLOBS}\n\n${JSON_HELP}`,
  load: async () => (await import('./run.ts')).runList,
};
