/** nixcache's own version, and how it introduces itself to servers. */
import packageJson from '../package.json' with { type: 'json' };

export const VERSION = packageJson.version;

/** `nixcache/1.2.3` */
export const USER_AGENT = `nixcache/${VERSION}`;
