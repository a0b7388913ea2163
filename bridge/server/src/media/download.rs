//! Files as they are read: whole, in parts, or not at all since the client has them.

use futures::StreamExt as _;
use homing_link::{ByteStream, MediaFile, OpenMedia, Reading};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::ops::Range;

use bytes::Bytes;
use rand::Rng as _;
use uuid::Uuid;
use warp::Reply as _;
use warp::reply::Response;

use super::body::{Download, exactly};
use super::flow::Transfer;
use super::names::{disposition, harmless};
use super::ranges::{Wanted, wanted};
use super::{Asked, bad, fail, file_id, no_media, no_token, put, refused, too_many};
use crate::api::THUMBNAIL;
use crate::bridge::Shared;
use crate::http_answer::{error, set};
use crate::upgrade::bearer;

/// A home's name or id in a path: as long as a DNS name.
const HOME_BYTES: usize = 253;

/// A file is named by its id and never changes: a year, which is as long as caches keep anything. Nobody else's cache.
const CACHED: &str = "private, max-age=31536000, immutable";

/// `GET`, `HEAD /v1/media/{home}/{id}`
pub(super) async fn answer(asked: Asked, home: &str, id: &str) -> Result<Response, Box<Response>> {
    let Asked { shared, peer, method, headers, query, body: _ } = asked;
    let shared = &shared;
    let Query { link, thumbnail } =
        read_query(&query).map_err(|(code, why)| bad(shared, code, why))?;
    let by = match bearer(&headers) {
        Some(token) => Some(Reading::Token(token.to_owned())),
        None => link,
    };
    let by = by.ok_or_else(|| no_token(shared))?;
    let media = shared.link.media().ok_or_else(|| no_media(shared))?;
    let Some(id) = file_id(id).filter(|_| is_home(home)) else {
        return Err(fail(
            shared,
            StatusCode::NOT_FOUND,
            "media_not_found",
            "there is no such file",
        ));
    };
    let user = match &by {
        Reading::Token(word) | Reading::Link { signature: word, .. } => word.clone(),
    };
    // Taken before the node is asked: it may have to ask another home.
    let transfer =
        Transfer::begin(shared, &peer.flow, &user).map_err(|limit| too_many(shared, limit))?;
    let open = OpenMedia { by, home: home.to_owned(), id, thumbnail };
    let file = media.open(open).await.map_err(|why| refused(shared, &why))?;
    serve(shared, &file, id, &method, &headers, transfer)
}

fn serve(
    shared: &Shared,
    file: &MediaFile,
    id: Uuid,
    method: &Method,
    headers: &HeaderMap,
    transfer: Transfer,
) -> Result<Response, Box<Response>> {
    let tag = entity_tag(&file.tag);
    if headers.contains_key(IF_MATCH) && !has_tag(headers, &IF_MATCH, &tag, false) {
        let message = "the file is another one than If-Match says";
        return Err(fail(shared, StatusCode::PRECONDITION_FAILED, "precondition_failed", message));
    }
    if has_tag(headers, &IF_NONE_MATCH, &tag, true) {
        let mut response = super::no_content(StatusCode::NOT_MODIFIED);
        keep(&mut response, &tag);
        return Ok(response);
    }
    let same = headers.get(IF_RANGE).is_none_or(|value| value.as_bytes() == tag.as_bytes());
    let range = headers.get(RANGE).filter(|_| same && *method == Method::GET);
    let wanted = match range.map(|range| range.to_str()) {
        Some(Ok(range)) => wanted(range, file.size),
        Some(Err(_)) | None => Wanted::Whole,
    };
    let content_type = content_type(&file.mime);
    let mut response = match wanted {
        Wanted::None => {
            shared.metrics.refused("range_not_satisfiable");
            let message = "the file ends before that";
            let mut response =
                error(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", message);
            set(&mut response, CONTENT_RANGE, text(format!("bytes */{}", file.size)));
            set(&mut response, ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            return Ok(response);
        }
        Wanted::Whole if *method == Method::HEAD => {
            let mut response = super::no_content(StatusCode::OK);
            set(&mut response, CONTENT_LENGTH, HeaderValue::from(file.size));
            set(&mut response, CONTENT_TYPE, content_type);
            response
        }
        Wanted::Whole => {
            let bytes = part(file, 0..file.size);
            stream(StatusCode::OK, bytes, file.size, content_type, transfer)
        }
        Wanted::One(range) => {
            let length = range.end - range.start;
            let said = content_range(&range, file.size);
            let bytes = part(file, range);
            let mut response =
                stream(StatusCode::PARTIAL_CONTENT, bytes, length, content_type, transfer);
            set(&mut response, CONTENT_RANGE, text(said));
            response
        }
        Wanted::Several(ranges) => {
            let boundary = format!("{:032x}", rand::rng().random::<u128>());
            let (bytes, length) = several(file, ranges, &boundary, &content_type);
            let content_type = text(format!("multipart/byteranges; boundary={boundary}"));
            stream(StatusCode::PARTIAL_CONTENT, bytes, length, content_type, transfer)
        }
    };
    keep(&mut response, &tag);
    set(&mut response, ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let name = harmless(file.name.as_deref(), id);
    set(&mut response, CONTENT_DISPOSITION, disposition(&file.mime, &name));
    set(&mut response, X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Whatever it is and whoever made it: opened as a page it runs nothing and has no origin.
    set(
        &mut response,
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    put(&mut response, "cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    Ok(response)
}

fn stream(
    status: StatusCode,
    bytes: ByteStream,
    length: u64,
    content_type: HeaderValue,
    transfer: Transfer,
) -> Response {
    let mut response = warp::reply::stream(Download::new(bytes, transfer)).into_response();
    *response.status_mut() = status;
    set(&mut response, CONTENT_LENGTH, HeaderValue::from(length));
    set(&mut response, CONTENT_TYPE, content_type);
    response
}

fn part(file: &MediaFile, range: Range<u64>) -> ByteStream {
    let length = range.end - range.start;
    if length == 0 {
        return futures::stream::empty().boxed();
    }
    exactly(file.bytes.read(range), length)
}

/// `multipart/byteranges`, and how long it is. A part is opened when the one before has gone out.
fn several(
    file: &MediaFile,
    ranges: Vec<Range<u64>>,
    boundary: &str,
    content_type: &HeaderValue,
) -> (ByteStream, u64) {
    let content_type = content_type.to_str().unwrap_or("application/octet-stream");
    let mut length = 0;
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let head = Bytes::from(format!(
            "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {}\r\n\r\n",
            content_range(&range, file.size)
        ));
        length += head.len() as u64 + (range.end - range.start);
        parts.push((head, range));
    }
    let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    length += end.len() as u64;
    let file = file.clone();
    let parts = futures::stream::iter(parts)
        .flat_map(move |(head, range)| futures::stream::iter([Ok(head)]).chain(part(&file, range)));
    (parts.chain(futures::stream::iter([Ok(end)])).boxed(), length)
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// What a client may keep, and by which tag it asks again.
fn keep(response: &mut Response, tag: &str) {
    set(response, ETAG, text(tag.to_owned()));
    set(response, CACHE_CONTROL, HeaderValue::from_static(CACHED));
}

/// A strong entity tag: the bytes are named by their hash.
fn entity_tag(tag: &str) -> String {
    let plain = tag.chars().filter(|c| c.is_ascii_graphic() && *c != '"');
    format!("\"{}\"", plain.collect::<String>())
}

/// Whether a list of entity tags, perhaps over several lines, has this one.
fn has_tag(headers: &HeaderMap, name: &HeaderName, tag: &str, weak: bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one == tag || (weak && one.strip_prefix("W/") == Some(tag)))
}

fn content_type(mime: &str) -> HeaderValue {
    // Text is text: what else a file claims its bytes do not say.
    let said = if mime.starts_with("text/") && !mime.contains("charset") {
        HeaderValue::from_str(&format!("{mime}; charset=utf-8"))
    } else {
        HeaderValue::from_str(mime)
    };
    said.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn text(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).expect("made of visible ASCII and spaces")
}

fn is_home(text: &str) -> bool {
    (1..=HOME_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte))
}

#[derive(Debug, PartialEq)]
struct Query {
    link: Option<Reading>,
    thumbnail: Option<u32>,
}

fn read_query(query: &str) -> Result<Query, (&'static str, &'static str)> {
    let (mut expires, mut signature, mut thumbnail) = (None, None, None);
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "expires" => expires = Some(value),
            "signature" => signature = Some(decoded(value)),
            "thumbnail" => thumbnail = Some(value),
            _ => {}
        }
    }
    let link = match (expires, signature) {
        (Some(expires), Some(signature)) => match expires.parse() {
            Ok(expires) => Some(Reading::Link { expires, signature }),
            Err(_) => return Err(("bad_link", "expires must be a number")),
        },
        (Some(_), None) | (None, Some(_)) => {
            return Err(("bad_link", "a link has both expires and signature"));
        }
        (None, None) => None,
    };
    let thumbnail = match thumbnail.map(str::parse) {
        Some(Ok(pixels)) if THUMBNAIL.contains(&pixels) => Some(pixels),
        Some(_) => return Err(("bad_thumbnail", "thumbnail is 1 to 4096")),
        None => None,
    };
    Ok(Query { link, thumbnail })
}

/// `%3D` is what some libraries make of `=`.
fn decoded(value: &str) -> String {
    let mut parts = value.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[2..]);
            }
            None => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let link = |signature: &str| Reading::Link { expires: 7, signature: signature.into() };
        let of = |text: &str| read_query(text).map_err(|(code, _)| code);
        assert_eq!(of(""), Ok(Query { link: None, thumbnail: None }));
        assert_eq!(
            of("thumbnail=320&expires=7&signature=a%3D%3d&x"),
            Ok(Query { link: Some(link("a==")), thumbnail: Some(320) })
        );
        for wrong in ["expires=7", "signature=x", "expires=x&signature=y"] {
            assert_eq!(of(wrong), Err("bad_link"), "{wrong}");
        }
        for wrong in ["thumbnail=0", "thumbnail=", "thumbnail=-1", "thumbnail=5000"] {
            assert_eq!(of(wrong), Err("bad_thumbnail"), "{wrong}");
        }
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%é"), "%zz%é");
    }

    #[test]
    fn tags() {
        assert_eq!(entity_tag("ab\"c\r\n"), "\"abc\"");
        let mut headers = HeaderMap::new();
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"x\", W/\"abc\""));
        assert!(has_tag(&headers, &IF_NONE_MATCH, "\"abc\"", true));
        assert!(!has_tag(&headers, &IF_NONE_MATCH, "\"abc\"", false));
        assert_eq!(content_type("text/html"), "text/html; charset=utf-8");
        assert_eq!(content_type("image/png"), "image/png");
        assert_eq!(content_type("a\nb"), "application/octet-stream");
    }
}
