//! Uploading: tus 1.0 (<https://tus.io/protocols/resumable-upload>), from a file, whatever breaks in between.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, RequestBuilder, Response};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::Error;
use crate::server::{Server, refused};
use crate::transfer::{Hope, IDLE, Progress, READ_BYTES, hash_file, of_file};

/// One request carries so much of a file. Large enough that a request more costs nothing, small enough for the limits
/// that proxies have on bodies.
const PIECE_BYTES: u64 = 16 << 20;

/// Reads that wait for the network.
const READS_QUEUED: usize = 2;

/// How often it is looked whether bytes have moved.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a home is told of a file before it is uploaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUpload {
    /// Bytes.
    pub length: u64,
    /// What it is called.
    pub name: String,
    /// Its media type, a claim; the home looks for itself.
    pub mime: Option<String>,
}

/// How far an upload is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadStatus {
    /// Bytes that the home has.
    pub offset: u64,
    /// What has become of it, once it is whole.
    pub uploaded: Option<Uploaded>,
}

/// A file that is whole at the home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Uploaded {
    /// Its id there: [`crate::Client::media_get`] tells the rest.
    pub id: Uuid,
    /// BLAKE3, hex.
    pub hash: String,
}

/// One file to upload.
///
/// It is sent in pieces. What a broken connection has cost is asked for and sent again, with back-off, until nothing
/// has moved for `patience`. In the end the home's hash is compared with the file's.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is called for others.
    pub name: String,
    /// Its media type, a claim.
    pub mime: Option<String>,
    /// The address that an earlier run was told: it goes on there, if the home still knows it.
    pub address: Option<String>,
    /// How long it hopes while nothing moves.
    pub patience: Duration,
}

impl Upload {
    /// A file under its own name, to be begun.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            name: name.unwrap_or_default(),
            path,
            mime: None,
            address: None,
            patience: Duration::from_secs(120),
        }
    }

    /// Uploads it. `begun` is told the address as soon as there is one: whoever keeps it can go on after the end of the
    /// process. `progress` is told often.
    pub async fn run(
        &self,
        server: &Server,
        token: &str,
        begun: &mut (dyn FnMut(&str) + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Uploaded, Error> {
        let wrong = |error: std::io::Error| of_file(&self.path, &error);
        let file = tokio::fs::metadata(&self.path).await.map_err(wrong)?;
        if !file.is_file() {
            return Err(wrong(std::io::Error::other("not a file")));
        }
        let total = file.len();
        let tus = Tus::new(server, token)?;
        let mut hope = Hope::new(self.patience);
        let known = match &self.address {
            Some(address) => match tus.status_patiently(address, &mut hope).await {
                Ok(status) => Some((address.clone(), status)),
                // Forgotten, or never of this user: begun anew.
                Err(Error::Http { status: 403 | 404 | 410, .. }) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let (address, mut status) = match known {
            Some(known) => known,
            None => {
                let address = loop {
                    let new = NewUpload {
                        length: total,
                        name: self.name.clone(),
                        mime: self.mime.clone(),
                    };
                    match tus.begin(&new).await {
                        Ok(address) => break address,
                        Err(error) => hope.after(error).await?,
                    }
                };
                begun(&address);
                let status = tus.status_patiently(&address, &mut hope).await?;
                (address, status)
            }
        };
        let uploaded = loop {
            progress(Progress { done: status.offset.min(total), total });
            if let Some(uploaded) = status.uploaded {
                break uploaded;
            }
            if status.offset >= total {
                // Everything is there, but nobody has said so: a file that is shorter now than it was.
                return Err(Error::FileChanged { path: self.path.display().to_string() });
            }
            let before = status.offset;
            let result = tus.append(&address, self, before, total, progress).await;
            status = match result {
                Ok(next) => next,
                Err(error) => {
                    hope.after(error).await?;
                    tus.status_patiently(&address, &mut hope).await?
                }
            };
            if status.offset > before {
                hope.renewed();
            }
        };
        let here = Box::pin(hash_file(&self.path, u64::MAX)).await?.finalize();
        if !uploaded.hash.eq_ignore_ascii_case(here.to_hex().as_str()) {
            return Err(Error::FileChanged { path: self.path.display().to_string() });
        }
        Ok(uploaded)
    }
}

impl Server {
    /// Begins an upload: its address, relative to the server's. Refusals: `upload_too_large`, `user_quota`,
    /// `home_quota`, `too_many_uploads`, `disk_full`.
    pub async fn begin_upload(&self, token: &str, new: &NewUpload) -> Result<String, Error> {
        Tus::new(self, token)?.begin(new).await
    }

    /// How far an upload is. Refusals: `upload_not_found`, `upload_expired`.
    pub async fn upload_status(&self, token: &str, address: &str) -> Result<UploadStatus, Error> {
        Tus::new(self, token)?.status(address).await
    }

    /// Ends an upload that is not whole, and forgets what has come of it.
    pub async fn abandon_upload(&self, token: &str, address: &str) -> Result<(), Error> {
        let tus = Tus::new(self, token)?;
        tus.sent(tus.request(Method::DELETE, address)?).await.map(drop)
    }
}

/// The protocol.
struct Tus<'a> {
    server: &'a Server,
    token: &'a str,
    http: reqwest::Client,
}

impl<'a> Tus<'a> {
    fn new(server: &'a Server, token: &'a str) -> Result<Self, Error> {
        let http = server.http_for_ever().build().map_err(|e| server.unreachable(&e))?;
        Ok(Self { server, token, http })
    }

    fn request(&self, method: Method, address: &str) -> Result<RequestBuilder, Error> {
        let url = self.server.resolve(address)?;
        let request = self.http.request(method, url).bearer_auth(self.token);
        Ok(request.header("tus-resumable", "1.0.0"))
    }

    /// An answer to a request without a body, in time.
    async fn sent(&self, request: RequestBuilder) -> Result<Response, Error> {
        self.answered(request.timeout(IDLE).send().await).await
    }

    async fn answered(&self, sent: reqwest::Result<Response>) -> Result<Response, Error> {
        let response = sent.map_err(|e| self.server.unreachable(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(refused(response).await) }
    }

    async fn begin(&self, new: &NewUpload) -> Result<String, Error> {
        let mut metadata = format!("filename {}", BASE64.encode(new.name.as_bytes()));
        if let Some(mime) = &new.mime {
            metadata.push_str(&format!(",filetype {}", BASE64.encode(mime.as_bytes())));
        }
        let request = self.request(Method::POST, "/v1/media")?;
        let request =
            request.header("upload-length", new.length).header("upload-metadata", metadata);
        let response = self.sent(request).await?;
        let address = text(response.headers(), LOCATION.as_str())
            .ok_or_else(|| Error::Garbled("an upload without an address".to_owned()))?;
        // One that could not be used is found out at once.
        self.server.resolve(address)?;
        Ok(address.to_owned())
    }

    async fn status(&self, address: &str) -> Result<UploadStatus, Error> {
        let response = self.sent(self.request(Method::HEAD, address)?).await?;
        read_status(response.headers())
    }

    async fn status_patiently(
        &self,
        address: &str,
        hope: &mut Hope,
    ) -> Result<UploadStatus, Error> {
        loop {
            match self.status(address).await {
                Ok(status) => return Ok(status),
                Err(error) => hope.after(error).await?,
            }
        }
    }

    /// Sends a piece that begins at `offset`.
    async fn append(
        &self,
        address: &str,
        upload: &Upload,
        offset: u64,
        total: u64,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<UploadStatus, Error> {
        let wrong = |error: std::io::Error| of_file(&upload.path, &error);
        let mut file = tokio::fs::File::open(&upload.path).await.map_err(wrong)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(wrong)?;
        let length = PIECE_BYTES.min(total - offset);
        let taken = Arc::new(AtomicU64::new(0));
        let (reads, queue) = mpsc::channel(READS_QUEUED);
        let body = Piece { queue, left: length, taken: Arc::clone(&taken) };
        let reading = tokio::spawn(read_into(file.take(length), reads));
        let request = self
            .request(Method::PATCH, address)?
            .header("upload-offset", offset)
            .header(CONTENT_TYPE, "application/offset+octet-stream")
            .body(reqwest::Body::wrap(body));
        let sending = request.send();
        tokio::pin!(sending);
        let (mut seen, mut moved) = (0, tokio::time::Instant::now());
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let now = taken.load(Ordering::Relaxed);
                    if now > seen {
                        (seen, moved) = (now, tokio::time::Instant::now());
                        progress(Progress { done: offset + now, total });
                    } else if moved.elapsed() > IDLE {
                        reading.abort();
                        let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                        return Err(self.server.unreachable(&error));
                    }
                }
            }
        };
        reading.abort();
        let response = self.answered(sent).await?;
        read_status(response.headers())
    }
}

/// A file's bytes on their way into a request. Ends early where the file does, which breaks the request.
async fn read_into(
    mut file: tokio::io::Take<tokio::fs::File>,
    reads: mpsc::Sender<std::io::Result<Bytes>>,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match file.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
            Err(error) => Err(error),
        };
        // The request is over if nobody takes it.
        if reads.send(read).await.is_err() {
            return;
        }
    }
}

/// The body of a PATCH.
struct Piece {
    queue: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
    taken: Arc<AtomicU64>,
}

impl Body for Piece {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.queue.poll_recv(cx).map(|read| match read {
            Some(Ok(bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => {
                self.left = 0;
                Some(Err(std::io::Error::other("the file is shorter than it was")))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn read_status(headers: &HeaderMap) -> Result<UploadStatus, Error> {
    let offset = text(headers, "upload-offset")
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| Error::Garbled("an upload without Upload-Offset".to_owned()))?;
    let named = text(headers, "homing-media").zip(text(headers, "homing-media-hash"));
    let uploaded = match named {
        Some((id, hash)) => {
            let id = id.parse().map_err(|_| Error::Garbled("a file without an id".to_owned()))?;
            Some(Uploaded { id, hash: hash.to_owned() })
        }
        None => None,
    };
    Ok(UploadStatus { offset, uploaded })
}
