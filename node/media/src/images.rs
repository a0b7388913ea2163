//! Pictures: how large they are, a preview of some 25 bytes, and thumbnails.
//!
//! Decoders meet what strangers send. So: how large a picture says it is comes first, and is refused before a byte of it is
//! decoded; memory, time, and how many are decoded at once are limited; a decoder that panics has refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageError as DecodeError, ImageFormat, ImageReader, Limits,
};

use crate::workers::{Undone, Workers};

/// The longer sides that thumbnails have: few, so that what is made once serves many.
pub const EDGES: [u32; 4] = [160, 320, 640, 1280];

/// The longer side of what a thumbhash is made from, as its format has it.
const PREVIEW_EDGE: u32 = 100;

/// JPEG's quality, where artefacts are not seen on a picture of this size.
const QUALITY: u8 = 80;

/// The edge that serves for one of so many pixels: the next larger.
pub fn edge_for(wanted: u32) -> u32 {
    EDGES.into_iter().find(|edge| *edge >= wanted).unwrap_or(EDGES[EDGES.len() - 1])
}

/// What decoding may cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageLimits {
    /// Pictures decoded at once: each may take [`Self::memory_bytes`] and a core.
    pub workers: usize,
    /// Pictures that wait for a worker; more are refused, and have no thumbnail for now.
    pub waiting: usize,
    /// Pixels of a picture: phones make some of 50 million.
    pub pixels: u64,
    /// What a decoded picture and its decoder may take.
    pub memory_bytes: u64,
    /// What a file may measure: a JPEG is held in memory whole.
    pub file_bytes: u64,
    /// How long one may take, in milliseconds. A decoder that is past it gets no more bytes; its place is free when it has ended.
    pub time_ms: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            workers: 1,
            waiting: 64,
            pixels: 64_000_000,
            memory_bytes: 320 * 1024 * 1024,
            file_bytes: 64 * 1024 * 1024,
            time_ms: 10_000,
        }
    }
}

/// What is known of a picture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageInfo {
    /// Pixels across, as it is shown.
    pub width: u32,
    /// Pixels down, as it is shown.
    pub height: u32,
    /// Its thumbhash (<https://evanw.github.io/thumbhash/>).
    pub preview: Vec<u8>,
}

/// A smaller picture, with nothing of what the file says beside its pixels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thumbnail {
    /// Its file.
    pub bytes: Vec<u8>,
    /// `image/jpeg`, or `image/png` where something shines through.
    pub mime: &'static str,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not one of the formats that are decoded.
    #[error("not a picture that is decoded here")]
    NotImage,
    /// It is damaged.
    #[error("the picture is damaged: {0}")]
    Damaged(String),
    /// Its file, its pixels or its memory are too many.
    #[error("the picture is too large")]
    TooLarge,
    /// It took too long.
    #[error("the picture takes too long")]
    TooSlow,
    /// Too many wait.
    #[error("too many pictures wait")]
    Busy,
    /// The file cannot be read.
    #[error("{0}")]
    Io(io::Error),
}

impl ImageError {
    /// The word for it in answers, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotImage => "not_image",
            Self::Damaged(_) => "image_damaged",
            Self::TooLarge => "image_too_large",
            Self::TooSlow => "image_too_slow",
            Self::Busy => "images_busy",
            Self::Io(_) => "image_unreadable",
        }
    }
}

/// Those who decode. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    limits: Arc<ImageLimits>,
    workers: Workers,
}

impl Images {
    /// With these limits.
    pub fn new(limits: ImageLimits) -> Self {
        let workers = Workers::new(limits.workers, limits.waiting);
        Self { limits: Arc::new(limits), workers }
    }

    /// Those who decode, for others that look into files: what they do together stays within the same limits.
    pub(crate) fn workers(&self) -> Workers {
        self.workers.clone()
    }

    /// How large a picture is, and its preview. Of one that moves, the first frame.
    pub async fn probe(&self, path: &Path) -> Result<ImageInfo, ImageError> {
        self.decode(path, |image, orientation| {
            let (width, height) = shown(&image, orientation);
            let mut small = shrink(image, PREVIEW_EDGE);
            small.apply_orientation(orientation);
            let small = small.into_rgba8();
            let (across, down) = (small.width() as usize, small.height() as usize);
            let preview = thumbhash::rgba_to_thumb_hash(across, down, small.as_raw());
            Ok(ImageInfo { width, height, preview })
        })
        .await
    }

    /// A smaller picture, whose longer side is [`edge_for`] `edge`; one that is smaller already keeps its size.
    pub async fn thumbnail(&self, path: &Path, edge: u32) -> Result<Thumbnail, ImageError> {
        let edge = edge_for(edge);
        self.decode(path, move |image, orientation| {
            let mut small = shrink(image, edge);
            small.apply_orientation(orientation);
            encode(small)
        })
        .await
    }

    async fn decode<T: Send + 'static>(
        &self,
        path: &Path,
        then: impl FnOnce(DynamicImage, Orientation) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let limits = self.limits.clone();
        let time = Duration::from_millis(limits.time_ms);
        let decoded = self.workers.run(path, time, move |path, until| {
            let (image, orientation) = open(path, &limits, until)?;
            then(image, orientation)
        });
        decoded.await.unwrap_or_else(|undone| Err(undone.into()))
    }
}

impl From<Undone> for ImageError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Busy => Self::Busy,
            Undone::TooSlow => Self::TooSlow,
            Undone::Panicked(panicked) => Self::Damaged(panicked),
        }
    }
}

/// Decodes a picture; how it is to be turned is left to when it is small.
fn open(
    path: &Path,
    limits: &ImageLimits,
    until: Instant,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let file = File::open(path).map_err(ImageError::Io)?;
    if file.metadata().map_err(ImageError::Io)?.len() > limits.file_bytes {
        return Err(ImageError::TooLarge);
    }
    let timed = Timed { file: BufReader::new(file), until };
    let mut reader = ImageReader::new(timed)
        .with_guessed_format()
        .map_err(|error| refused(DecodeError::IoError(error)))?;
    match reader.format() {
        Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Gif | ImageFormat::WebP) => {}
        Some(_) | None => return Err(ImageError::NotImage),
    }
    let mut allowed = Limits::default();
    allowed.max_alloc = Some(limits.memory_bytes);
    reader.limits(allowed.clone());
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.pixels
        || decoder.total_bytes() > limits.memory_bytes
    {
        return Err(ImageError::TooLarge);
    }
    if width == 0 || height == 0 {
        return Err(ImageError::Damaged("it has no pixels".to_owned()));
    }
    decoder.set_limits(allowed).map_err(refused)?;
    // What cannot say how it is turned is not turned.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    Ok((image, orientation))
}

/// A file that ends in time.
struct Timed {
    file: BufReader<File>,
    until: Instant,
}

impl Timed {
    fn check(&self) -> io::Result<()> {
        if Instant::now() < self.until { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.file.read(into)
    }
}

impl BufRead for Timed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        self.file.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.file.consume(amount);
    }
}

impl Seek for Timed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn refused(error: DecodeError) -> ImageError {
    match error {
        DecodeError::Limits(_) => ImageError::TooLarge,
        DecodeError::Unsupported(_) => ImageError::NotImage,
        DecodeError::IoError(error) if error.kind() == io::ErrorKind::TimedOut => {
            ImageError::TooSlow
        }
        DecodeError::Decoding(_)
        | DecodeError::Encoding(_)
        | DecodeError::Parameter(_)
        | DecodeError::IoError(_) => ImageError::Damaged(error.to_string()),
    }
}

/// A picture's width and height once it is turned.
fn shown(image: &DynamicImage, orientation: Orientation) -> (u32, u32) {
    let (width, height) = (image.width(), image.height());
    match orientation {
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (width, height),
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
    }
}

fn shrink(image: DynamicImage, edge: u32) -> DynamicImage {
    if image.width().max(image.height()) <= edge { image } else { image.thumbnail(edge, edge) }
}

/// Only its pixels are written, so nothing of what the file said beside them is in it.
fn encode(image: DynamicImage) -> Result<Thumbnail, ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    let rgba = image.color().has_alpha().then(|| image.to_rgba8());
    let mime = match rgba {
        Some(rgba) if rgba.pixels().any(|pixel| pixel.0[3] < u8::MAX) => {
            rgba.write_to(&mut bytes, ImageFormat::Png).map_err(refused)?;
            "image/png"
        }
        Some(_) | None => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
            image.into_rgb8().write_with_encoder(encoder).map_err(refused)?;
            "image/jpeg"
        }
    };
    Ok(Thumbnail { bytes: bytes.into_inner(), mime })
}
