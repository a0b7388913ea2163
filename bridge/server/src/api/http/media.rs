//! The calls about files, for the document.

use super::{BUSY, Content, FAULT, HttpAnswer, HttpCall, Parameter, Takes, empty, error, wait};

/// What carries a piece of an upload.
const PIECE: Takes = Takes::Bytes("application/offset+octet-stream");

const fn parameter(
    name: &'static str,
    place: &'static str,
    required: bool,
    kind: &'static str,
    about: &'static str,
) -> Parameter {
    Parameter { name, place, required, kind, about }
}

const UPLOAD: Parameter = parameter("id", "path", true, "string", "The upload: a UUID");
const VERSION: Parameter = parameter("Tus-Resumable", "header", true, "string", "1.0.0");
const OVERRIDE: Parameter = parameter(
    "X-HTTP-Method-Override",
    "header",
    false,
    "string",
    "With POST: the method that is meant, where a network knows GET and POST alone",
);
const CHECKSUM: Parameter = parameter(
    "Upload-Checksum",
    "header",
    false,
    "string",
    "sha1 or sha256 and the base64 of what the piece must sum up to",
);

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const OFFSET: (&str, &str) = ("Upload-Offset", "Bytes that are here");
const EXPIRES: (&str, &str) = ("Upload-Expires", "When an upload that is not whole is forgotten");
const WHOLE: (&str, &str) = ("Homing-Media", "The file's id, once it is whole");
const HASH: (&str, &str) = ("Homing-Media-Hash", "Its BLAKE3 in hexadecimal, once it is whole");

const NO_TOKEN: HttpAnswer = error(401, "bad_token");
const NO_UPLOAD: HttpAnswer = error(404, "upload_not_found, or media_off: the home keeps no files");
const OTHER_TUS: HttpAnswer = error(412, "tus_version: Tus-Resumable is missing or another");
const EXPIRED: HttpAnswer = error(410, "upload_expired");
const NO_PIECE: HttpAnswer = error(415, "The body is not application/offset+octet-stream");
const CROWDED: HttpAnswer = wait(
    503,
    "transfers, transfers_per_user: too many files are on their way; or the home is busy",
);
const FULL: HttpAnswer = wait(507, "disk_full");

const FILE_HEADERS: &[(&str, &str)] = &[
    ("Accept-Ranges", "bytes"),
    ("ETag", "Names the bytes"),
    ("Content-Disposition", "inline for images, audio and video, else attachment; and the name"),
    ("Cache-Control", "private, max-age=31536000, immutable"),
];

const READ: &[Parameter] = &[
    parameter("home", "path", true, "string", "The home that holds it: a name, or a home id"),
    parameter("id", "path", true, "string", "The file: a UUID"),
    parameter(
        "thumbnail",
        "query",
        false,
        "integer",
        "A smaller image, of about so many pixels: 1 to 4096",
    ),
    parameter("expires", "query", false, "integer", "Of a link by media.url"),
    parameter(
        "signature",
        "query",
        false,
        "string",
        "Of a link by media.url; with it no token is needed",
    ),
    parameter("Range", "header", false, "string", "bytes=…: one part, or up to 16"),
    parameter("If-Range", "header", false, "string", "The ETag of which parts are wanted"),
    parameter("If-None-Match", "header", false, "string", "ETags that the client has"),
];

const fn file(status: u16, when: &'static str) -> HttpAnswer {
    HttpAnswer { status, when, content: Content::File, retry_after: false, headers: FILE_HEADERS }
}

const NO_FILE: HttpAnswer =
    error(404, "media_not_found: not there, or not for this user; no_thumbnail; media_off");
const AWAY: HttpAnswer =
    wait(503, "home_unreachable, media_busy, transfers, transfers_per_user: again later");
const NOT_READ: HttpAnswer = error(400, "bad_link, or bad_thumbnail");
const OTHER_FILE: HttpAnswer = error(412, "precondition_failed: If-Match names another file");

/// All of them.
pub(crate) static MEDIA: &[HttpCall] = &[
    HttpCall {
        method: "options",
        path: "/v1/media",
        name: "media_options",
        summary: "What of tus 1.0.0 is spoken here",
        parameters: &[],
        body: Takes::Nothing,
        bearer: false,
        answers: &[empty(
            204,
            "It",
            &[
                TUS,
                ("Tus-Version", "1.0.0"),
                (
                    "Tus-Extension",
                    "creation, creation-with-upload, checksum, expiration, termination",
                ),
                ("Tus-Max-Size", "Bytes of a file at most"),
                ("Tus-Checksum-Algorithm", "sha1, sha256"),
            ],
        )],
    },
    HttpCall {
        method: "post",
        path: "/v1/media",
        name: "media_create",
        summary: "Begins an upload (tus 1.0.0), perhaps with its first bytes",
        parameters: &[
            VERSION,
            parameter("Upload-Length", "header", true, "integer", "Bytes of the whole file"),
            parameter(
                "Upload-Metadata",
                "header",
                false,
                "string",
                "filename (or name) and filetype (or type), each with its value in base64",
            ),
            CHECKSUM,
        ],
        body: PIECE,
        bearer: true,
        answers: &[
            empty(
                201,
                "It is begun; with a body some or all of it is here",
                &[TUS, ("Location", "The upload"), OFFSET, EXPIRES, WHOLE, HASH],
            ),
            error(
                400,
                "bad_upload_length, bad_upload_metadata, bad_checksum, unknown_checksum, body_lost",
            ),
            NO_TOKEN,
            error(404, "media_off: the home keeps no files"),
            OTHER_TUS,
            error(413, "upload_too_large, user_quota, home_quota"),
            NO_PIECE,
            wait(429, "too_many_uploads"),
            error(460, "checksum_mismatch: nothing was begun"),
            FAULT,
            CROWDED,
            FULL,
        ],
    },
    HttpCall {
        method: "head",
        path: "/v1/media/{id}",
        name: "media_status",
        summary: "How far an upload is",
        parameters: &[UPLOAD, VERSION],
        body: Takes::Nothing,
        bearer: true,
        answers: &[
            empty(
                200,
                "So far",
                &[TUS, OFFSET, ("Upload-Length", "Bytes of all"), EXPIRES, WHOLE, HASH],
            ),
            empty(401, "bad_token", &[TUS]),
            empty(404, "upload_not_found, media_off", &[TUS]),
            empty(410, "upload_expired", &[TUS]),
            empty(412, "tus_version", &[TUS, ("Tus-Version", "1.0.0")]),
            empty(503, "The home cannot take the call now", &[TUS]),
        ],
    },
    HttpCall {
        method: "patch",
        path: "/v1/media/{id}",
        name: "media_append",
        summary: "More bytes of an upload; what came before a broken connection is kept",
        parameters: &[
            UPLOAD,
            VERSION,
            parameter(
                "Upload-Offset",
                "header",
                true,
                "integer",
                "Where they begin: what HEAD says",
            ),
            CHECKSUM,
        ],
        body: PIECE,
        bearer: true,
        answers: &[
            empty(204, "They are here", &[TUS, OFFSET, EXPIRES, WHOLE, HASH]),
            error(400, "bad_upload_offset, bad_checksum, unknown_checksum, body_lost"),
            NO_TOKEN,
            NO_UPLOAD,
            error(408, "too_slow: go on from where HEAD says"),
            error(409, "offset_conflict: ask HEAD"),
            EXPIRED,
            OTHER_TUS,
            error(413, "upload_too_large (more than Upload-Length), user_quota, home_quota"),
            NO_PIECE,
            error(423, "upload_busy: another piece is coming in"),
            wait(429, "too_many_uploads"),
            error(460, "checksum_mismatch: nothing of the piece is kept"),
            FAULT,
            CROWDED,
            FULL,
        ],
    },
    HttpCall {
        method: "delete",
        path: "/v1/media/{id}",
        name: "media_abandon",
        summary: "Ends an upload that is not whole",
        parameters: &[UPLOAD, VERSION],
        body: Takes::Nothing,
        bearer: true,
        answers: &[
            empty(204, "It is forgotten", &[TUS]),
            NO_TOKEN,
            NO_UPLOAD,
            error(409, "upload_finished"),
            EXPIRED,
            OTHER_TUS,
            error(423, "upload_busy"),
            FAULT,
            BUSY,
        ],
    },
    HttpCall {
        method: "post",
        path: "/v1/media/{id}",
        name: "media_override",
        summary: "PATCH, HEAD or DELETE, for networks that know GET and POST alone",
        parameters: &[UPLOAD, VERSION, OVERRIDE],
        body: PIECE,
        bearer: true,
        answers: &[
            empty(200, "As HEAD", &[TUS]),
            empty(204, "As PATCH, or DELETE", &[TUS]),
            error(405, "X-HTTP-Method-Override is missing"),
            OTHER_TUS,
        ],
    },
    HttpCall {
        method: "get",
        path: "/v1/media/{home}/{id}",
        name: "media_read",
        summary: "A file, for somebody who may read it",
        parameters: READ,
        body: Takes::Nothing,
        bearer: true,
        answers: &[
            file(200, "All of it"),
            file(206, "The parts that were asked for; several as multipart/byteranges"),
            empty(304, "The client has it", &[("ETag", "Names the bytes")]),
            NOT_READ,
            NO_TOKEN,
            NO_FILE,
            OTHER_FILE,
            error(416, "range_not_satisfiable: it ends before that"),
            FAULT,
            AWAY,
        ],
    },
    HttpCall {
        method: "head",
        path: "/v1/media/{home}/{id}",
        name: "media_look",
        summary: "What GET would answer, without the bytes",
        parameters: READ,
        body: Takes::Nothing,
        bearer: true,
        answers: &[
            empty(200, "It is there", FILE_HEADERS),
            empty(304, "The client has it", &[("ETag", "Names the bytes")]),
            empty(400, "bad_link, or bad_thumbnail", &[]),
            empty(401, "bad_token", &[]),
            empty(404, "media_not_found, no_thumbnail, media_off", &[]),
            empty(412, "precondition_failed", &[]),
            empty(503, "home_unreachable, media_busy, transfers, transfers_per_user", &[]),
        ],
    },
];
