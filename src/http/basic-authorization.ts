/** What an Authorization header says of a name and a password. RFC 7617 */
export const basicAuthorization = ({
  username,
  password,
}: {
  readonly username: string;
  readonly password: string;
}): string => `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

/** What a URL says itself, where it says something that can be read. */
export function authorizationInUrl({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  try {
    return basicAuthorization({ username: decodeURIComponent(username), password: decodeURIComponent(password) });
  } catch {
    return undefined; // a '%' that begins no escape
  }
}
