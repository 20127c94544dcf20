/** What is said to who sends a method, or an upload, that is not taken where it goes. */
import { type Answer, statusAnswer } from './answer.ts';

/** `closed`: they would be taken, and no token is for them. */
export type UploadState = 'on' | 'off' | 'closed';

/** @param takes whether uploads go there */
export function notTaken(
  { method, path }: { readonly method: string; readonly path: string },
  {
    methods,
    takes,
    uploads,
  }: { readonly methods: readonly string[]; readonly takes: boolean; readonly uploads: UploadState },
): Answer {
  const allowed = methods.join(', ');
  const kind = Object.entries(NOT_YET).find(([prefix]) => path.startsWith(prefix))?.[1];
  const isUpload = method === 'PUT' && (takes || kind !== undefined);
  const why = isUpload ? (CLOSED[uploads] ?? kind) : undefined;
  return statusAnswer(405, ['Allow', allowed], why ?? `this address takes ${allowed} only`);
}

const CLOSED: Readonly<Record<UploadState, string | undefined>> = {
  on: undefined,
  off: 'uploads are off here; nixcache serve --upload-token-file FILE turns them on',
  closed: 'no token of this server may push; add one to the file of --upload-token-file',
};

/** What Nix uploads besides. */
const NOT_YET: Readonly<Record<string, string>> = {
  '/log/': 'build logs are not taken yet',
  '/debuginfo/': 'debug infos are not taken yet; copy without ?index-debug-info=true in the URL',
  '/build-trace-v2/': 'build traces are not taken yet, and Nix sends nothing else since 2.35; before, realisations are',
};
