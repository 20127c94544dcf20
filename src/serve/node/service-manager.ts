/**
 * systemd, where it started us: sockets that it opened, and what it wants to hear (sd_listen_fds(3), sd_notify(3)). Node has no
 * datagrams over unix sockets, which notifications are: the program `systemd-notify` sends them, a process each, few and far
 * between. It needs no native code, is there wherever systemd is, and waits until its message was taken.
 */
import { execFile } from 'node:child_process';
import { type Environment, variable } from '../../environment.ts';
import { messageOf } from '../../errors.ts';

export interface ProcessIds {
  readonly pid: number;
  /** Of an older Node, our launcher has started another in which we are. */
  readonly parentPid: number;
}

const OURS: ProcessIds = { pid: process.pid, parentPid: process.ppid };

/** After standard input, output and error. */
const FIRST_DESCRIPTOR = 3;
const MOST_SOCKETS = 64;

/** The descriptors of the sockets that were opened for us; none: we open them ourselves. */
export function inheritedSockets(env: Environment, { pid, parentPid }: ProcessIds = OURS): readonly number[] {
  const count = Number(variable(env, 'LISTEN_FDS') ?? '0');
  const isForUs = [pid, parentPid].includes(Number(variable(env, 'LISTEN_PID')));
  if (!isForUs || !Number.isInteger(count) || count < 1 || count > MOST_SOCKETS) return [];
  return Array.from({ length: count }, (_, index) => FIRST_DESCRIPTOR + index);
}

/** Sends assignments, as `READY=1`, to the service manager. */
export type Notify = (assignments: readonly string[]) => Promise<void>;

const SEND_MS = 3000;

/** Undefined where nobody wants to hear. */
export function notifierOf(env: Environment): Notify | undefined {
  const socket = variable(env, 'NOTIFY_SOCKET');
  if (socket === undefined) return undefined;
  const own = { NOTIFY_SOCKET: socket, PATH: env['PATH'] };
  return (assignments) =>
    new Promise((resolve, reject) => {
      const options = { env: own, timeout: SEND_MS };
      execFile('systemd-notify', assignments, options, (error) => (error === null ? resolve() : reject(error)));
    });
}

/** How often a watchdog wants to hear of us, at the least; undefined: there is none. */
export function watchdogMs(env: Environment, { pid, parentPid }: ProcessIds = OURS): number | undefined {
  const microseconds = Number(variable(env, 'WATCHDOG_USEC') ?? Number.NaN);
  const watched = variable(env, 'WATCHDOG_PID');
  if (watched !== undefined && ![pid, parentPid].includes(Number(watched))) return undefined;
  return microseconds > 0 ? microseconds / 1000 : undefined;
}

export interface ServiceManagerOptions {
  readonly notify: Notify;
  readonly watchdogMs?: number | undefined;
  readonly onWarning: (message: string) => void;
}

export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  /** Messages arrive in the order in which they were sent. */
  #sent: Promise<void> = Promise.resolve();
  #hasFailed = false;
  #watchdog: NodeJS.Timeout | undefined;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
  }

  /** We serve, from the start on or with new settings; a watchdog hears of us from then on. */
  ready(status: string): Promise<void> {
    const { watchdogMs } = this.#options;
    // Twice as often as it has to be, as sd_watchdog_enabled(3) advises.
    if (watchdogMs !== undefined) this.#watchdog ??= setInterval(() => void this.#send('WATCHDOG=1'), watchdogMs / 2);
    this.#watchdog?.unref();
    return this.#send('READY=1', statusOf(status));
  }

  /** `monotonicMicroseconds`: when that began, by which the manager knows its own request. */
  reloading(monotonicMicroseconds = process.hrtime.bigint() / 1000n): Promise<void> {
    return this.#send('RELOADING=1', `MONOTONIC_USEC=${monotonicMicroseconds}`);
  }

  tell(status: string): Promise<void> {
    return this.#send(statusOf(status));
  }

  stopping(): Promise<void> {
    return this.#send('STOPPING=1', statusOf('ending what is under way'));
  }

  /** The watchdog hears no more. */
  close(): void {
    clearInterval(this.#watchdog);
  }

  /** What cannot be sent is told of once: whoever waits for it then ends us, and the log says why. */
  #send(...assignments: string[]): Promise<void> {
    this.#sent = this.#sent
      .then(() => this.#options.notify(assignments))
      .catch((error: unknown) => {
        if (!this.#hasFailed) this.#options.onWarning(`systemd cannot be told how serve is: ${messageOf(error)}`);
        this.#hasFailed = true;
      });
    return this.#sent;
  }
}

/** On one line, for a message has one assignment a line. */
const statusOf = (text: string): string => `STATUS=${text.replaceAll(/\s+/g, ' ')}`;
