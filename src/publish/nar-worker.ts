/** One path from the store to a compressed, hashed, checked NAR. Runs in worker threads; see nar-pool.ts. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { constants, zstdCompressSync } from 'node:zlib';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { hashFromBytes } from '../nix/hash.ts';
import { encodeNarListing } from '../nix/nar-listing.ts';
import { NarWriter } from '../nix/nar-writer.ts';
import { createCompressor, DEFAULT_ZSTD_LEVEL } from './compressor.ts';
import type { NarJob, NarResult, WorkerReply, WorkerRequest } from './nar-job.ts';
import { PartWriter } from './part-writer.ts';

/** 1 MiB: zlib's zstd is fastest with chunks of this size (measured), and a chunk is hashed while it compresses. */
const CHUNK_BYTES = 1024 * 1024;
/** Buffers not in use: a worker has a few jobs under way, each of which needs one. */
const buffers: Buffer[] = [];

/**
 * Serialises, hashes, compresses and hashes again.
 *
 * @throws {NixcacheError} ERR_NAR_MISMATCH when the contents are not what `job.narHash` says; nothing is left behind
 */
export async function runNarJob(job: NarJob, onProgress: (bytes: number) => void): Promise<NarResult> {
  const buffer = buffers.pop() ?? Buffer.allocUnsafe(CHUNK_BYTES);
  const nar = new NarWriter(job.contentPath, { buffer, withListing: true });
  const hash = createHash('sha256');
  const output = new PartWriter(job);
  try {
    await (job.narSize <= CHUNK_BYTES && job.compression.method === 'zstd'
      ? compressAtOnce(nar, hash, job, output)
      : compressStream(nar, hash, job, output, onProgress));
    const narHash = hashFromBytes(hash.digest());
    if (nar.narSize !== job.narSize) throw mismatch(job, `its NAR is not ${job.narSize} bytes long`);
    if (narHash !== job.narHash) throw mismatch(job, `its NAR hash is ${narHash}, not ${job.narHash}`);
    const { listing } = nar;
    if (!listing) throw new Error('the NAR writer made no listing');
    return { ...output.finish(), listing: zstdCompressSync(encodeNarListing(listing)) };
  } catch (error) {
    output.discard();
    throw isNixcacheError(error, 'ERR_NOT_FOUND') ? mismatch(job, 'its files are gone') : error;
  } finally {
    nar.return();
    buffers.push(buffer);
  }
}

const mismatch = (job: NarJob, what: string): NixcacheError =>
  new NixcacheError(
    'ERR_NAR_MISMATCH',
    `${job.storePath} is not what the Nix store's database says: ${what}; it was changed or damaged, try nix-store --repair-path`,
  );

type Hash = ReturnType<typeof createHash>;

async function compressAtOnce(nar: NarWriter, hash: Hash, job: NarJob, output: PartWriter): Promise<void> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (const chunk of nar) {
    size += chunk.length;
    if (size > job.narSize) return; // the caller reports it
    chunks.push(Buffer.from(chunk));
  }
  const whole = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
  hash.update(whole);
  const level = job.compression.level ?? DEFAULT_ZSTD_LEVEL;
  output.write(zstdCompressSync(whole, { params: { [constants.ZSTD_c_compressionLevel]: level } }));
}

async function compressStream(
  nar: NarWriter,
  hash: Hash,
  job: NarJob,
  output: PartWriter,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const compressor = await createCompressor(job.compression, job.narSize, (chunk) => output.write(chunk));
  try {
    for (const chunk of nar) {
      if (nar.narSize > job.narSize) return; // the caller reports it
      const written = compressor.write(chunk);
      hash.update(chunk); // while zlib's own thread compresses it
      await written;
      onProgress(chunk.length);
    }
    if (nar.narSize !== job.narSize) return; // the caller reports it
    await compressor.finish();
  } finally {
    compressor.destroy();
  }
}

parentPort?.on('message', ({ id, job }: WorkerRequest) => {
  const reply = (message: WorkerReply, transfer: ArrayBuffer[] = []): void =>
    parentPort?.postMessage(message, transfer);
  runNarJob(job, (progressBytes) => reply({ id, progressBytes })).then(
    (result) => reply({ id, result }),
    (error: unknown) => {
      const code = error instanceof NixcacheError ? error.code : undefined;
      const message = code === undefined && error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
      reply({ id, error: { code, message } });
    },
  );
});
