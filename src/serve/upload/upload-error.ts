/** Why an upload is not taken, as the client is told: Nix shows the text to whoever uploads. */
import { NixcacheError } from '../../errors.ts';

/** 400: it is not as it should be; 409: something has to be there first; 413: it is too large; 503: it may be taken later; 507: there is no room. */
export type UploadStatus = 400 | 409 | 413 | 503 | 507;

export class UploadError extends NixcacheError {
  readonly status: UploadStatus;

  constructor(status: UploadStatus, message: string, options?: ErrorOptions) {
    super('ERR_FORMAT', message, options);
    this.status = status;
  }
}

/** There is no room for it on the disk. */
export class NoRoomError extends UploadError {
  /** For those who run the server: who uploads has no use for its paths. */
  readonly detail: string;

  constructor(detail: string, options?: ErrorOptions) {
    super(507, "there is no room for the upload: the disk of this server's upload directory is nearly full", options);
    this.detail = detail;
  }
}
