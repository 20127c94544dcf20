/** What has been promised to whom: by publishers and pinners whose calls came back, for as long as gc has to keep it. */
import type { PathName } from './model-paths.ts';

export const HOUR_MS = 60 * 60 * 1000;
export const DAY_MS = 24 * HOUR_MS;
export const RETAIN_MS = 30 * DAY_MS;
export const GRACE_MS = DAY_MS;
/** How far apart any clock is from the true time, at most. */
const MAX_SKEW_MS = 3 * HOUR_MS;

export interface Publish {
  /** Source and system. */
  readonly group: string;
  /** As recorded in its roots, in Unix seconds by the publisher's clock. */
  readonly time: number;
  /** True time when it began. */
  readonly at: number;
  readonly names: readonly PathName[];
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

/** Which of two attempts on one name is the newer, nobody can say when they were less apart: their clocks differ. */
const PIN_APART_MS = 2 * MAX_SKEW_MS + 2 * HOUR_MS;

export class Ledger {
  readonly #publishes: Publish[] = [];
  readonly #pins: PinAttempt[] = [];

  /** Notes a publish that begins; it may come to be in the registry whether or not its call comes back. */
  begin(publish: Omit<Publish, 'isCommitted'>): Publish {
    const begun = { ...publish, isCommitted: false };
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
      if (!publish.isCommitted) continue;
      // gc's clock may be fast, and the publisher's slow.
      const isRetained = now < publish.at + RETAIN_MS - 2 * MAX_SKEW_MS;
      const isNewest = !this.#publishes.some(({ group, time }) => group === publish.group && time > publish.time);
      if (!isRetained && !isNewest) continue;
      for (const name of publish.names) owed.set(name, isRetained ? 'published lately' : 'of the newest publish');
    }
    for (const pin of this.#pins)
      if (this.#counts(pin)) for (const each of pin.owed) owed.set(each, `pinned as ${pin.name}`);
    return owed;
  }

  /** Whether nobody else changed the name at about the same time, or later. */
  #counts({ name, at }: PinAttempt): boolean {
    const rivals = this.#pins.filter((pin) => pin.name === name && pin.at > at - PIN_APART_MS);
    return rivals.length === 1;
  }
}
