/** Numbers that the parts of the server keep for whoever watches it. */

export interface Measured {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One of them; it is read when somebody looks, so that keeping it costs next to nothing. */
export interface Measure {
  /** `nixcache_` comes before it; by the rules of Prometheus: a unit at the end, `_total` for what only grows. */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  /** One number, several with labels of the same names, or none for now. */
  read(): number | readonly Measured[] | undefined;
}
