import { expect, it } from 'vitest';
import { Census } from '../../src/census/census.ts';
import { describe } from '../../src/oci/descriptor.ts';

it('knows the media type of each blob, however many there are', () => {
  const census = new Census();
  const layers = Array.from({ length: 300 }, (_, i) => describe(`application/x-${i}`, Buffer.from(String(i))));
  census.addSegment('seg', layers, []);
  expect(layers.map((_, blob) => census.blob(blob))).toEqual(layers);
});
