/** What has been promised to whom: by publishers and pinners whose calls came back, for as long as gc has to keep it. */
import type { PathName } from './model-paths.ts';

export const HOUR_MS = 60 * 60 * 1000;
export const DAY_MS = 24 * HOUR_MS;
export const GRACE_MS = DAY_MS;

export interface Publish {
  /** Source and system. */
  readonly group: string;
  /** As recorded in its roots, in Unix seconds by the publisher's clock. */
  readonly time: number;
  /** True time when it began. */
  readonly at: number;
  /** What it was told is committed, once its call came back. */
  names: readonly PathName[];
  /** Not when it ended early: what it pushed is kept for the retention alone. */
  hasRoots: boolean;
  /** Name of the key that signed them, if any did. */
  readonly key?: string | undefined;
  isCommitted: boolean;
}

/** Somebody set, moved or removed a pin, or tried to. */
export interface PinAttempt {
  readonly name: string;
  /** True time when it began. */
  readonly at: number;
  /** What it keeps, once the call came back. */
  owed: readonly PathName[];
}

/** What promises depend on. */
export interface Terms {
  /** The shortest that any gc is told. */
  readonly retainMs: number;
  /** How far apart any clock is from the true time, at most. */
  readonly skewMs: number;
}

export class Ledger {
  readonly #terms: Terms;
  readonly #publishes: Publish[] = [];
  readonly #pins: PinAttempt[] = [];

  constructor(terms: Terms) {
    this.#terms = terms;
  }

  /** Notes a publish that begins; it may come to be in the registry whether or not its call comes back. */
  begin(publish: Omit<Publish, 'isCommitted' | 'hasRoots'>): Publish {
    const begun = { ...publish, hasRoots: true, isCommitted: false };
    this.#publishes.push(begun);
    return begun;
  }

  beginPin(name: string, at: number): PinAttempt {
    const attempt = { name, at, owed: [] };
    this.#pins.push(attempt);
    return attempt;
  }

  /** By path, why it must be there at the true time `now`. */
  owed(now: number): Map<PathName, string> {
    const owed = new Map<PathName, string>();
    for (const publish of this.#publishes) {
      const why = this.#whyOwed(publish, now);
      if (why !== undefined) for (const name of publish.names) owed.set(name, why);
    }
    for (const pin of this.#pins)
      if (this.#counts(pin)) for (const each of pin.owed) owed.set(each, `pinned as ${pin.name}`);
    return owed;
  }

  /** Of each path that must be there, the keys whose signatures it must have once gcs have put together what was written at once. */
  owedSignatures(now: number): readonly (readonly [PathName, string])[] {
    return this.#publishes.flatMap((publish) => {
      const { key, names } = publish;
      if (key === undefined || this.#whyOwed(publish, now) === undefined) return [];
      return names.map((name) => [name, key] as const);
    });
  }

  #whyOwed(publish: Publish, now: number): string | undefined {
    if (!publish.isCommitted) return undefined;
    // gc's clock may be fast, and the publisher's slow.
    if (now < publish.at + this.#terms.retainMs - 2 * this.#terms.skewMs) return 'published lately';
    if (!publish.hasRoots) return undefined;
    const isNewest = !this.#publishes.some(({ group, time }) => group === publish.group && time > publish.time);
    return isNewest ? 'of the newest publish' : undefined;
  }

  /**
   * Whether nobody else changed the name at about the same time, or later. Which of two changes is the newer, nobody can say
   * when they were less apart than that: their clocks differ.
   */
  #counts({ name, at }: PinAttempt): boolean {
    const apartMs = 2 * this.#terms.skewMs + 2 * HOUR_MS;
    const rivals = this.#pins.filter((pin) => pin.name === name && pin.at > at - apartMs);
    return rivals.length === 1;
  }
}
