import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HashInterner } from '../../src/census/hash-interner.ts';

test('hashes are numbered like a Map would number them', () => {
  const hash = fc.uint8Array({ minLength: 6, maxLength: 6, max: 3 }); // so few values that many collide
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 200 }), fc.array(hash), (hashes, others) => {
      const interner = new HashInterner(6);
      const model = new Map<string, number>();
      for (const one of hashes) {
        const key = one.join();
        if (!model.has(key)) model.set(key, model.size);
        expect(interner.intern(one)).toBe(model.get(key));
      }
      expect(interner.size).toBe(model.size);
      for (const one of [...hashes, ...others]) expect(interner.find(one)).toBe(model.get(one.join()));
      for (const [key, ordinal] of model) expect(interner.hashOf(ordinal).join()).toBe(key);
    }),
  );
});
