import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { tellingSilence } from '../../../src/cli/session/telling-waits.ts';
import type { HttpFetch, HttpRequest } from '../../../src/http/http-fetch.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Never answers. */
const silent: HttpFetch = { request: () => new Promise(() => undefined) };

function toldOf(http: HttpFetch) {
  const told: string[] = [];
  return { told, http: tellingSilence(http, (host) => told.push(host)) };
}
const get: HttpRequest = { url: 'https://registry.example:5000/v2/' };

it('tells of a far side that keeps us waiting, once for all that wait', async () => {
  const { told, http } = toldOf(silent);
  for (let i = 0; i < 3; i++) void http.request(get);
  await vi.advanceTimersByTimeAsync(4900);
  expect(told).toEqual([]);
  await vi.advanceTimersByTimeAsync(200);
  expect(told).toEqual(['registry.example:5000']);
  await vi.advanceTimersByTimeAsync(30_000);
  void http.request(get);
  await vi.advanceTimersByTimeAsync(5100);
  expect(told).toHaveLength(2);
});

it('tells nothing of what is answered or fails, nor of what takes its time to be sent', async () => {
  const { told, http } = toldOf({ request: () => Promise.reject(new Error('refused')) });
  await expect(http.request(get)).rejects.toThrow('refused');
  const sending = toldOf(silent);
  void sending.http.request({ ...get, method: 'PUT', body: Buffer.from('x') });
  void sending.http.request({ ...get, bulk: true });
  await vi.advanceTimersByTimeAsync(60_000);
  expect([...told, ...sending.told]).toEqual([]);
});
