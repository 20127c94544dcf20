/** Where the parts of large NARs wait between being made and being stored. `cache/disk` has the one on a disk. */
import type { CallOptions } from '../../call-options.ts';
import type { NarPart, NarSink, PartLimits } from '../../nar/part-writer.ts';
import type { ContentStore, PushResult } from '../../oci/content-store.ts';

export interface Spool {
  /** Takes one compressed NAR as it comes. */
  open(limits: PartLimits): Promise<NarSink>;
  /** Stores `part` as a blob of type `mediaType`; afterwards it is gone from here, whether that worked or not. */
  send(part: NarPart, mediaType: string, store: ContentStore, options: CallOptions): Promise<PushResult>;
}
