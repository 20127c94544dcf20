/**
 * Why a server's TLS certificate is not accepted, for people, and what they can do about it. The codes are OpenSSL's
 * (doc/man3/X509_STORE_CTX_get_error.pod, less `X509_V_ERR_`) and Node's own for names (lib/tls.js).
 */

const IS_CERTIFICATE =
  /^(ERR_TLS_CERT|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|IP_ADDRESS_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|EE_KEY|CA_KEY|CA_MD)/;

const OWN_AUTHORITY =
  'put its certificate into the file that NIX_SSL_CERT_FILE or SSL_CERT_FILE names, or that of NODE_EXTRA_CA_CERTS';

/** Names that a certificate is for may be thousands. */
const MAX_NAMES_LENGTH = 200;

/**
 * What is wrong with the certificate of `host` (with a port where it is not the usual one), as a clause that begins with it;
 * undefined when `code` is not about a certificate.
 */
export function describeCertificateError(code: string, error: unknown, host: string): string | undefined {
  if (!IS_CERTIFICATE.test(code)) return undefined;
  const what = `the TLS certificate of ${host}`;
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return `${what}, or one that vouches for it, has expired; whoever runs it has to renew it, unless the clock of this machine is wrong`;
    case 'CERT_NOT_YET_VALID':
      return `${what} is not valid yet; is the clock of this machine right?`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
    case 'HOSTNAME_MISMATCH':
    case 'IP_ADDRESS_MISMATCH':
      return `${what} is for another host${namesIn(error)}; is the address right? Use a name that it is for`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return `${what} is signed by itself, and nothing says that it is genuine (${code}); if it is yours, ${OWN_AUTHORITY}`;
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'CERT_UNTRUSTED':
      return `${what} is signed by an authority that is not known here (${code}), or the server does not send the certificates in between; if it is a private authority, ${OWN_AUTHORITY}`;
    case 'CERT_REVOKED':
      return `${what} was revoked; whoever runs it has to get a new one`;
    default:
      return `${what} was not accepted (${code}); whoever runs it has to mend it`;
  }
}

/** The names it is for, from Node's error. */
function namesIn(error: unknown): string {
  const cert = error instanceof Error && 'cert' in error ? error.cert : undefined;
  if (typeof cert !== 'object' || cert === null || !('subjectaltname' in cert)) return '';
  const names = String(cert.subjectaltname).replaceAll(/\b(?:DNS|IP Address):/g, '');
  return ` (${names.length > MAX_NAMES_LENGTH ? `${names.slice(0, MAX_NAMES_LENGTH)}…` : names})`;
}
