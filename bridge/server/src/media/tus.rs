//! Uploads: tus 1.0.0 with `creation`, `creation-with-upload`, `checksum`, `expiration`, `termination`.

use std::time::{Duration, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64_NOPAD};
use homing_link::{Checksum, MediaLink, NewUpload, Piece, UploadStatus};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use uuid::Uuid;
use warp::reply::Response;

use super::flow::Transfer;
use super::{Asked, bad, fail, header, no_content, no_media, no_token, put, refused, too_many};
use crate::bridge::Shared;
use crate::http_answer::{set, wrong_method};
use crate::upgrade::bearer;

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,checksum,expiration,termination";
const ALGORITHMS: &str = "sha1,sha256";
/// The type of a piece of an upload.
const PIECE: &str = "application/offset+octet-stream";

/// An answer, or why there is none.
type Answer = Result<Response, Box<Response>>;

/// What `OPTIONS` says.
pub(super) fn describe(response: &mut Response, upload_bytes: u64) {
    put(response, "tus-resumable", HeaderValue::from_static(VERSION));
    put(response, "tus-version", HeaderValue::from_static(VERSION));
    put(response, "tus-extension", HeaderValue::from_static(EXTENSIONS));
    put(response, "tus-max-size", upload_bytes);
    put(response, "tus-checksum-algorithm", HeaderValue::from_static(ALGORITHMS));
}

/// Every answer about uploads says which version it is of.
pub(super) fn resumable(answer: Answer) -> Answer {
    let mark = |response: &mut Response| {
        put(response, "tus-resumable", HeaderValue::from_static(VERSION));
    };
    match answer {
        Ok(mut response) => {
            mark(&mut response);
            Ok(response)
        }
        Err(mut response) => {
            mark(&mut response);
            Err(response)
        }
    }
}

/// `POST /v1/media`
pub(super) async fn create(asked: Asked) -> Answer {
    let Asked { shared, peer, headers, body: upload, .. } = asked;
    let shared = &shared;
    let (media, token) = admitted(shared, &headers)?;
    let new = new_upload(shared, &headers, media.upload_bytes())?;
    if !has_body(&headers) {
        let status = media.begin(token, new).await.map_err(|why| refused(shared, &why))?;
        return Ok(created(&status));
    }
    if !is_piece(&headers) {
        return Err(not_a_piece(shared));
    }
    let announced = header(&headers, CONTENT_LENGTH.as_str()).and_then(digits);
    if announced.is_some_and(|bytes| bytes > new.length) {
        return Err(too_large(shared, "the body has more bytes than Upload-Length"));
    }
    let checksum = checksum(shared, &headers)?;
    let transfer =
        Transfer::begin(shared, &peer.flow, &token).map_err(|limit| too_many(shared, limit))?;
    let id = media.begin(token.clone(), new).await.map_err(|why| refused(shared, &why))?.id;
    let piece = Piece { offset: 0, checksum, bytes: upload.store(transfer) };
    let status = match media.append(token.clone(), id, piece).await {
        Ok(status) if !upload.was_slow() => status,
        // A piece that is wrong in itself makes no upload.
        Err(why) if matches!(&*why.reason, "checksum_mismatch" | "upload_too_large") => {
            let _expires_otherwise = media.abandon(token, id).await;
            return Err(refused(shared, &why));
        }
        // The upload is there, with what came of it: the client goes on, and learns why when it still does not work.
        Ok(_) | Err(_) => media.status(token, id).await.map_err(|why| refused(shared, &why))?,
    };
    let mut response = created(&status);
    put(&mut response, "upload-offset", status.offset);
    Ok(response)
}

/// `HEAD`, `PATCH`, `DELETE /v1/media/{id}`
pub(super) async fn go_on(asked: Asked, id: Option<Uuid>) -> Answer {
    let shared = asked.shared.clone();
    let method = asked.method.clone();
    if ![Method::HEAD, Method::PATCH, Method::DELETE].contains(&method) {
        return Err(wrong_method("OPTIONS, HEAD, PATCH, DELETE").into());
    }
    let (media, token) = admitted(&shared, &asked.headers)?;
    let id = id.ok_or_else(|| {
        fail(&shared, StatusCode::NOT_FOUND, "upload_not_found", "there is no such upload")
    })?;
    match method {
        Method::HEAD => {
            let status = media.status(token, id).await.map_err(|why| {
                let mut response = refused(&shared, &why);
                no_store(&mut response);
                response
            })?;
            let mut response = no_content(StatusCode::OK);
            no_store(&mut response);
            put(&mut response, "upload-offset", status.offset);
            put(&mut response, "upload-length", status.length);
            describe_upload(&mut response, &status);
            Ok(response)
        }
        Method::DELETE => {
            media.abandon(token, id).await.map_err(|why| refused(&shared, &why))?;
            Ok(no_content(StatusCode::NO_CONTENT))
        }
        _ => append(asked, media, token, id).await,
    }
}

async fn append(asked: Asked, media: &dyn MediaLink, token: String, id: Uuid) -> Answer {
    let Asked { shared, peer, headers, body: upload, .. } = asked;
    let shared = &shared;
    if !is_piece(&headers) {
        return Err(not_a_piece(shared));
    }
    let offset = header(&headers, "upload-offset").and_then(digits).ok_or_else(|| {
        bad(shared, "bad_upload_offset", "Upload-Offset must be a number of bytes")
    })?;
    let checksum = checksum(shared, &headers)?;
    let transfer =
        Transfer::begin(shared, &peer.flow, &token).map_err(|limit| too_many(shared, limit))?;
    let piece = Piece { offset, checksum, bytes: upload.store(transfer) };
    let appended = media.append(token, id, piece).await;
    if upload.was_slow() {
        let message = "too little came for too long; go on from where HEAD says";
        return Err(fail(shared, StatusCode::REQUEST_TIMEOUT, "too_slow", message));
    }
    let status = appended.map_err(|why| refused(shared, &why))?;
    let mut response = no_content(StatusCode::NO_CONTENT);
    put(&mut response, "upload-offset", status.offset);
    describe_upload(&mut response, &status);
    Ok(response)
}

/// Before anything else: the version, then the token.
fn admitted<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
) -> Result<(&'a dyn MediaLink, String), Box<Response>> {
    if header(headers, "tus-resumable") != Some(VERSION) {
        let message = "Tus-Resumable must be 1.0.0";
        let mut response = fail(shared, StatusCode::PRECONDITION_FAILED, "tus_version", message);
        put(&mut response, "tus-version", HeaderValue::from_static(VERSION));
        return Err(response);
    }
    let token = bearer(headers).ok_or_else(|| no_token(shared))?;
    let media = shared.link.media().ok_or_else(|| no_media(shared))?;
    Ok((media, token.to_owned()))
}

fn created(status: &UploadStatus) -> Response {
    let mut response = no_content(StatusCode::CREATED);
    let location = format!("{}/{}", super::ROOT, status.id);
    put(&mut response, "location", HeaderValue::from_str(&location).expect("a path and a UUID"));
    describe_upload(&mut response, status);
    response
}

fn describe_upload(response: &mut Response, status: &UploadStatus) {
    if let Some(at) =
        status.expires_at.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at)))
        && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(at))
    {
        put(response, "upload-expires", date);
    }
    if let Some(hash) = &status.hash {
        let text = |text: String| HeaderValue::from_str(&text).expect("hexadecimal");
        put(response, "homing-media", text(status.id.to_string()));
        put(response, "homing-media-hash", text(hash.to_string()));
    }
}

fn no_store(response: &mut Response) {
    set(response, CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn is_piece(headers: &HeaderMap) -> bool {
    let plain = header(headers, "content-encoding").is_none_or(|coding| coding == "identity");
    plain
        && header(headers, "content-type").is_some_and(|media_type| {
            let essence = media_type.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case(PIECE)
        })
}

fn not_a_piece(shared: &Shared) -> Box<Response> {
    let message = "the body must be application/offset+octet-stream";
    fail(shared, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

fn too_large(shared: &Shared, message: &str) -> Box<Response> {
    fail(shared, StatusCode::PAYLOAD_TOO_LARGE, "upload_too_large", message)
}

fn digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn new_upload(shared: &Shared, headers: &HeaderMap, most: u64) -> Result<NewUpload, Box<Response>> {
    let length = header(headers, "upload-length").and_then(digits).ok_or_else(|| {
        bad(shared, "bad_upload_length", "Upload-Length must say how many bytes will come")
    })?;
    if length > most {
        return Err(too_large(shared, &format!("a file has at most {most} bytes")));
    }
    let metadata = match headers.get("upload-metadata") {
        Some(value) => value.to_str().ok().and_then(metadata),
        None => Some(vec![]),
    };
    let metadata = metadata.ok_or_else(|| {
        bad(
            shared,
            "bad_upload_metadata",
            "Upload-Metadata must be names with values of UTF-8 in base64",
        )
    })?;
    let named = |names: [&str; 2]| {
        names.iter().find_map(|name| {
            let (_, value) = metadata.iter().find(|(key, _)| key == name)?;
            (!value.is_empty()).then(|| value.clone())
        })
    };
    Ok(NewUpload { length, name: named(["filename", "name"]), mime: named(["filetype", "type"]) })
}

/// `key base64,key base64,key`. Values that are not text are nothing that is known here; they may stand under other names.
fn metadata(text: &str) -> Option<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = value.trim().as_bytes();
        let value = BASE64.decode(value).or_else(|_| BASE64_NOPAD.decode(value)).ok()?;
        if all.iter().any(|(other, _)| other == key) {
            return None;
        }
        let known = ["filename", "name", "filetype", "type"].contains(&key);
        match String::from_utf8(value) {
            Ok(value) => all.push((key.to_owned(), value)),
            Err(_) if known => return None,
            Err(_) => {}
        }
    }
    Some(all)
}

fn checksum(shared: &Shared, headers: &HeaderMap) -> Result<Option<Checksum>, Box<Response>> {
    let Some(value) = headers.get("upload-checksum") else {
        return Ok(None);
    };
    let parts = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
    let Some((algorithm, sum)) = parts else {
        return Err(bad(shared, "bad_checksum", "Upload-Checksum must be an algorithm and base64"));
    };
    let sum = BASE64.decode(sum.trim().as_bytes()).ok();
    let read = match algorithm {
        "sha1" => sum.and_then(|sum| sum.try_into().ok()).map(Checksum::Sha1),
        "sha256" => sum.and_then(|sum| sum.try_into().ok()).map(Checksum::Sha256),
        _ => {
            let message = "checksums are sha1 or sha256";
            return Err(bad(shared, "unknown_checksum", message));
        }
    };
    let wrong =
        || bad(shared, "bad_checksum", "the checksum is not as long as it must be, in base64");
    read.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_as_clients_write_it() {
        let pairs = |text: &str| metadata(text);
        let owned = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(pairs(""), owned(&[]));
        assert_eq!(
            pairs("filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential"),
            owned(&[("filename", "world_domination_plan.pdf"), ("is_confidential", "")])
        );
        assert_eq!(pairs("name eA, type  dA=="), owned(&[("name", "x"), ("type", "t")]));
        assert_eq!(pairs("filename !"), None);
        assert_eq!(pairs("filename eA==,filename eA=="), None);
        assert_eq!(pairs("filename //8="), None, "not UTF-8");
        assert_eq!(pairs("other //8="), owned(&[]));
    }
}
