/** What an Authorization header says of a name and a password. RFC 7617 */
export const basicAuthorization = ({
  username,
  password,
}: {
  readonly username: string;
  readonly password: string;
}): string => `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
