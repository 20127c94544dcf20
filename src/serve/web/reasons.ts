/** Why gc keeps something, in words. */
import type { KeepReason } from '../../census/retention.ts';
import { type Html, html } from './html.ts';
import { ofSeconds, type Place, time } from './parts.ts';

/** For lists: the kind alone. */
export const KINDS: Readonly<Record<KeepReason['kind'], string>> = {
  pinned: 'Pinned',
  'newest-publish': 'Newest publish',
  published: 'Published within the retention',
  'keep-last': 'Among the last publishes of a root',
  pushed: 'Pushed within the retention',
};

export function reasonText(reason: KeepReason, place: Place): Html {
  switch (reason.kind) {
    case 'pinned':
      return html`the pin <b>${reason.name}</b>`;
    case 'newest-publish':
      return html`the root <b>${reason.name}</b>, of the newest publish, ${time(ofSeconds(reason.time), place)}`;
    case 'published':
      return html`the root <b>${reason.name}</b>, published ${time(ofSeconds(reason.time), place)}`;
    case 'keep-last':
      return html`the root <b>${reason.name}</b>, one of its last publishes, ${time(ofSeconds(reason.time), place)}`;
    case 'pushed':
      return html`a push within the retention`;
  }
}

/** `30 days`, `12 hours`. */
export function retentionText(seconds: number): string {
  const [unit, size] =
    (
      [
        ['day', 86_400],
        ['hour', 3600],
        ['minute', 60],
      ] as const
    ).find(([, size]) => seconds >= size && seconds % size === 0) ?? (['second', 1] as const);
  const count = seconds / size;
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}
