/** Who we are to a registry. Where that is found out is not this room's business. */

export type Credentials =
  | { readonly type: 'basic'; readonly username: string; readonly password: string }
  /** A refresh token for the registry's token server. */
  | { readonly type: 'identity-token'; readonly token: string }
  /** A bearer token for the registry itself. */
  | { readonly type: 'registry-token'; readonly token: string };

/** What a lookup is for. */
export interface CredentialsRequest {
  /** As the user writes it, with its port. */
  readonly host: string;
  readonly repository: string;
  readonly signal?: AbortSignal | undefined;
}

/** Asked only when the registry wants to know, and once. Undefined means anonymous. */
export type CredentialsProvider = (request: CredentialsRequest) => Promise<Credentials | undefined>;
