/** A content store that is opened when it is first asked for something. */
import type { CallOptions } from '../../call-options.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import { SharedWork } from '../../shared-work.ts';

/** The store that `open` gives, to be read. Opening that fails is what the call then fails with, and is tried again by the next. */
export function lateStore(name: string, open: (options: CallOptions) => Promise<ReadOnlyStore>): ReadOnlyStore {
  const opening = new SharedWork((signal) => open({ signal }), { keeps: true });
  const opened = ({ signal }: CallOptions = {}): Promise<ReadOnlyStore> => opening.join({ signal });
  return {
    name,
    fetchBlob: async (target, options) => (await opened(options)).fetchBlob(target, options),
    locateBlob: async (target, options) => (await opened(options)).locateBlob?.(target, options),
    hasBlob: async (target, options) => (await opened(options)).hasBlob(target, options),
    fetchManifest: async (reference, options) => (await opened(options)).fetchManifest(reference, options),
    resolve: async (reference, options) => (await opened(options)).resolve(reference, options),
    listTags: async (options) => (await opened(options)).listTags(options),
  };
}
