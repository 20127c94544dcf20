import { NO_STORE, textAnswer } from '../answer.ts';
import { READ, type Route } from '../route.ts';

const ALIVE = textAnswer('ok\n', 'text/plain; charset=utf-8', NO_STORE);

/** `/health`: that we are alive, whatever the registry and the upstreams are. */
export const healthRoute: Route = {
  methods: READ,
  match: (path) => (path === '/health' ? () => ALIVE : undefined),
};
