/** `POST /_refresh`: asks the registry now. */
import { messageOf } from '../../errors.ts';
import { type Answer, jsonAnswer } from '../answer.ts';
import type { IndexRefresher } from '../index-refresher.ts';
import { POST, type Route } from '../route.ts';

export function refreshRoute(refresher: IndexRefresher): Route {
  const answer = async (): Promise<Answer> => {
    try {
      return jsonAnswer(200, { refreshed: true, ...(await refresher.refresh()) });
    } catch (error) {
      return jsonAnswer(502, { refreshed: false, error: messageOf(error) });
    }
  };
  return { methods: POST, match: (path) => (path === '/_refresh' ? answer : undefined) };
}
