/** What time it is at a registry, by the Date of its answers. */
import type { HttpHeaders } from '../../http/http-fetch.ts';
import { ClockSkew } from '../clock-skew.ts';

/** Date has whole seconds, and has been on its way. */
const HALF_SECOND_MS = 500;

export class RegistryClock {
  readonly #skew = new ClockSkew();

  get skewMs(): number | undefined {
    return this.#skew.ms;
  }

  /** An answer has come. */
  heard({ date, age }: HttpHeaders): void {
    const theirs = Date.parse(date ?? '');
    if (Number.isNaN(theirs)) return;
    const ageMs = /^[0-9]{1,9}$/.test(age ?? '') ? Number(age) * 1000 : 0;
    const ms = theirs + HALF_SECOND_MS + ageMs - Date.now();
    const known = this.#skew.ms;
    // What a cache has kept, without saying so, only looks as if the registry's clock were behind.
    if (known === undefined || ms >= known + 2 * HALF_SECOND_MS) this.#skew.learn(ms);
  }
}
