/** Text for a job's page on GitHub. */

/** Reasons come from registries and from Nix, and hold anything; here they are text. */
export const escapeMarkdown = (text: string): string => text.replaceAll(/[\\`*_[\]<>|]/g, '\\$&');
