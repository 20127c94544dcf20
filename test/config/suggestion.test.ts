import { describe, expect, it, vi } from 'vitest';
import { nearest } from '../../src/config/suggestion.ts';

describe('among very many names', () => {
  const letters = 'abcdfghijklmnpqrsvwxyz';
  /** 40 000 different names of some 20 letters, as store paths have them. */
  const names = Array.from({ length: 40_000 }, (_, i) => {
    const part = [0, 3, 7, 9].map((step) => letters[(i >> step) % letters.length]).join('');
    return `${part}-${part.repeat(2)}-${(i * 7919) % 1_000_003}.${i % 10}`;
  });

  it('the nearest are found without comparing most of them letter by letter', () => {
    const compared = vi.spyOn(Math, 'min'); // once for each pair of letters that is compared
    try {
      expect(nearest('openssl-utlis-3.0', [...names, 'openssl-utils-3.0'], 5)).toEqual(['openssl-utils-3.0']);
      expect(compared.mock.calls.length).toBeLessThan(names.length);
      compared.mockClear();
      expect(nearest('x'.repeat(100_000), names, 5)).toEqual([]);
      expect(compared).not.toHaveBeenCalled();
    } finally {
      compared.mockRestore();
    }
  });

  it('those that are equally near stay in order, and no more come than were asked for', () => {
    expect(nearest('cat', ['cast', 'bat', 'cut', 'car', 'dog'], 3)).toEqual(['cast', 'bat', 'cut']);
    expect(nearest('acress', ['access', 'across', 'actress', 'caress'], 2)).toEqual(['access', 'across']);
  });
});
