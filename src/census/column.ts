/** Numbers that are appended one by one, without an object for each. */
export class Column {
  #values: Uint8Array | Uint32Array | Float64Array;
  #length = 0;

  /** `Type` decides what fits: reading gives back what it rounds to. */
  constructor(Type: Uint8ArrayConstructor | Uint32ArrayConstructor | Float64ArrayConstructor) {
    this.#values = new Type(16);
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) this.#grow();
    this.#values[this.#length++] = value;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }

  /** The first place at or after `from` that holds `value`; -1 where there is none. */
  indexOf(value: number, from: number): number {
    const at = this.#values.indexOf(value, from);
    return at < this.#length ? at : -1;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }

  #grow(): void {
    const Type = this.#values.constructor as Uint32ArrayConstructor;
    const values = new Type(Math.ceil(this.#values.length * 1.5));
    values.set(this.#values);
    this.#values = values;
  }
}
