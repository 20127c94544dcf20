/** Who writes, as segments record it. */
import type { Environment } from '../../environment.ts';
import { githubSource } from '../../github/source.ts';
import { VERSION } from '../../version.ts';

export interface Provenance {
  readonly creator: string;
  /** Of the repository whose job writes; undefined outside of GitHub Actions. */
  readonly sourceUrl: string | undefined;
}

export const provenanceOf = (env: Environment): Provenance => ({
  creator: `nixcache ${VERSION}`,
  sourceUrl: githubSource(env)?.sourceUrl,
});
