/** The files of NARs that were uploaded. None goes while somebody needs it: a record that names it, or who is about to write one. */
import { LRUCache } from 'lru-cache';
import type { NarName } from './nar-names.ts';
import type { ReceivedNar, UnpackedNar } from './receive-nar.ts';
import { Turns } from './turns.ts';
import type { SpoolFile, UploadSpool } from './upload-spool.ts';

/** The file of a NAR, whole and with the hash that its name says. */
export interface HeldNar extends NarName {
  readonly fileSize: number;
  receivedAt: Date;
}

/** 64 MiB of listings: those of 10 000 usual paths. More are made again. */
const MAX_UNPACKED_BYTES = 64 * 1024 * 1024;

export class HeldNars {
  readonly #spool: Pick<UploadSpool, 'removeNar' | 'hasNar'>;
  readonly #isNamed: (held: HeldNar) => boolean;
  readonly #nars = new Map<string, HeldNar>();
  readonly #users = new Map<string, number>();
  /** A file that is being removed is not that which is being put in its place. */
  readonly #turns = new Turns<string>();
  readonly #unpacked = new LRUCache<string, UnpackedNar>({
    maxSize: MAX_UNPACKED_BYTES,
    sizeCalculation: ({ listing }) => 300 + (listing?.length ?? 0),
  });

  /** @param isNamed whether a record names it */
  constructor(spool: Pick<UploadSpool, 'removeNar' | 'hasNar'>, isNamed: (held: HeldNar) => boolean) {
    this.#spool = spool;
    this.#isNamed = isNamed;
  }

  get(name: string): HeldNar | undefined {
    return this.#nars.get(name);
  }

  all(): Iterable<HeldNar> {
    return this.#nars.values();
  }

  /** What is in the NAR `name`, if that is known. */
  unpacked(name: string): UnpackedNar | undefined {
    return this.#unpacked.get(name);
  }

  rememberUnpacked(name: string, unpacked: UnpackedNar): void {
    this.#unpacked.set(name, unpacked);
  }

  /** `held` is on the disk. */
  found(held: HeldNar): void {
    this.#nars.set(held.name, held);
  }

  /** Has `file` be the NAR `nar` from now on. @throws {NixcacheError} ERR_IO */
  keep(nar: NarName, file: SpoolFile, { fileSize, unpacked }: ReceivedNar, receivedAt: Date): Promise<HeldNar> {
    return this.#turns.take(nar.name, async () => {
      await file.keep(nar.name);
      const held = { ...nar, fileSize, receivedAt };
      this.#nars.set(nar.name, held);
      if (unpacked !== undefined) this.#unpacked.set(nar.name, unpacked);
      return held;
    });
  }

  /** Does `work`, during which the NAR `name` is not removed. */
  async using<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#users.set(name, (this.#users.get(name) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const others = (this.#users.get(name) ?? 1) - 1;
      if (others === 0) this.#users.delete(name);
      else this.#users.set(name, others);
    }
  }

  /** Whether the file of the NAR `name` is there; one that somebody took away is forgotten, so that it can be sent again. */
  async isThere(name: string): Promise<boolean> {
    const held = this.#nars.get(name);
    if (held === undefined) return false;
    if (await this.#spool.hasNar(name, held.fileSize)) return true;
    if (this.#nars.get(name) === held) this.#forget(name);
    return false;
  }

  /** Removes the NAR `name`, unless somebody needs it. */
  async remove(name: string): Promise<void> {
    await this.#turns.take(name, async () => {
      const held = this.#nars.get(name);
      if (held === undefined || this.#users.has(name) || this.#isNamed(held)) return;
      this.#forget(name);
      await this.#spool.removeNar(name);
    });
  }

  #forget(name: string): void {
    this.#nars.delete(name);
    this.#unpacked.delete(name);
  }
}
