/** One path from the store to a compressed, hashed, checked NAR. Runs in worker threads; see nar-pool.ts. */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { hashFromBytes } from '../nix/hash.ts';
import { createCompressor } from './compressor.ts';
import type { NarJob, NarResult, WorkerMessage, WorkerReply, WorkerRequest, WorkerStart } from './nar-job.ts';
import { packNarListing } from './nar-listing.ts';
import { NarWriter } from './nar-writer.ts';
import { PartWriter } from './part-writer.ts';

/**
 * 8 MiB: what is read, hashed and compressed at a time. With zstd each chunk becomes a frame of its own: one call into
 * the library with all of its input at hand, no stream and no other thread (0.9 % larger than one frame would be, and
 * still smaller than zstd -3 by default), and memory that does not depend on the NAR.
 */
const CHUNK_BYTES = 8 * 1024 * 1024;
/** One NAR at a time uses it. */
const chunkBuffer = Buffer.allocUnsafe(CHUNK_BYTES);
let busy = false;

const stopped = new Int32Array((workerData as WorkerStart).stopped);
/** A job is one long call: no message reaches it. */
const isStopped = (): boolean => Atomics.load(stopped, 0) !== 0;

/**
 * Serialises, hashes, compresses and hashes again. One call at a time: the buffers are the thread's.
 *
 * @throws {NixcacheError} ERR_NAR_MISMATCH when the contents are not what `job.narHash` says; nothing is left behind
 */
async function runNarJob(job: NarJob, onProgress: (bytes: number) => void): Promise<NarResult> {
  if (busy) throw new Error('two NARs at once in one thread would overwrite each other');
  busy = true;
  const nar = new NarWriter(job.contentPath, { buffer: chunkBuffer, withListing: true });
  const hash = createHash('sha256');
  const output = new PartWriter(job);
  try {
    const compressor = await createCompressor(job.compression, (piece) => output.write(piece));
    for (const chunk of nar) {
      if (isStopped()) throw new NixcacheError('ERR_INTERRUPTED', 'the NAR workers were stopped');
      if (nar.narSize > job.narSize) throw mismatch(job, `its NAR is longer than ${job.narSize} bytes`);
      hash.update(chunk);
      compressor.write(chunk);
      onProgress(chunk.length);
    }
    await compressor.finish();
    const narHash = hashFromBytes(hash.digest());
    if (nar.narSize !== job.narSize) throw mismatch(job, `its NAR is not ${job.narSize} bytes long`);
    if (narHash !== job.narHash) throw mismatch(job, `its NAR hash is ${narHash}, not ${job.narHash}`);
    return { ...output.finish(), listing: packNarListing(nar.listing) };
  } catch (error) {
    output.discard();
    throw isNixcacheError(error, 'ERR_NOT_FOUND') ? mismatch(job, 'its files are gone') : error;
  } finally {
    nar.return();
    busy = false;
  }
}

const mismatch = (job: NarJob, what: string): NixcacheError =>
  new NixcacheError(
    'ERR_NAR_MISMATCH',
    `${job.storePath} is not what the Nix store's database says: ${what}; it was changed or damaged, try nix-store --repair-path`,
  );

/** A view would be sent with all of the buffer that it is a view of. */
const exactCopy = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

/** Jobs wait for each other here; the pool sends one ahead so that this thread is never idle. */
let last: Promise<unknown> = Promise.resolve();

parentPort?.on('message', (message: WorkerMessage) => {
  if (message === 'end') void last.finally(() => parentPort?.close());
  else runNext(message);
});

function runNext({ id, job }: WorkerRequest): void {
  const reply = (message: WorkerReply): void => parentPort?.postMessage(message);
  const onProgress = (progressBytes: number): void => reply({ id, progressBytes });
  const run = last.then(() => runNarJob(job, onProgress));
  last = run.catch(() => undefined); // reported below; the next job does not mind
  run.then(
    (result) => {
      const bytes = result.bytes && exactCopy(result.bytes);
      const listing = result.listing && exactCopy(result.listing);
      const transfer = [bytes?.buffer, listing?.buffer].filter((buffer) => buffer !== undefined);
      parentPort?.postMessage({ id, result: { ...result, bytes, listing } } satisfies WorkerReply, transfer);
    },
    (error: unknown) => {
      const code = error instanceof NixcacheError ? error.code : undefined;
      const message = code === undefined && error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
      reply({ id, error: { code, message } });
    },
  );
}
