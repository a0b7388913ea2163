//! Pictures, good and evil.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use homing_media::{ImageError, ImageLimits, Images, edge_for};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use tempfile::TempDir;

fn images() -> Images {
    Images::new(ImageLimits::default())
}

fn put(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    path
}

fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Red on the left, blue on the right.
fn picture(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, _| {
        if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }
    })
    .into()
}

/// A JPEG that says how it is turned, and where it was made.
fn turned(image: &DynamicImage, orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif.extend(b"SECRET PLACE");
    let plain = file(image, ImageFormat::Jpeg);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&plain[..2], &[0xff, 0xe1], &length, &exif, &plain[2..]].concat()
}

/// A PNG that says it is of this size, and has next to nothing.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    for (kind, data) in
        [(b"IHDR", header.as_slice()), (b"IDAT", &[0x78, 0x9c, 0x63, 0]), (b"IEND", &[])]
    {
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let chunk = [kind, data].concat();
        bytes.extend(&chunk);
        bytes.extend(crc32fast::hash(&chunk).to_be_bytes());
    }
    bytes
}

#[test]
fn edges_are_few() {
    let wanted = [0, 1, 160, 161, 640, 641, 1280, 5000];
    assert_eq!(wanted.map(edge_for), [160, 160, 160, 320, 640, 1280, 1280, 1280]);
}

#[tokio::test]
async fn a_picture_is_shrunk_and_never_enlarged() {
    let folder = TempDir::new().unwrap();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let path = put(&folder, &file(&picture(800, 400), format));
        let info = images().probe(&path).await.unwrap();
        assert_eq!((info.width, info.height), (800, 400));
        assert!((5..=25).contains(&info.preview.len()), "{}", info.preview.len());
        let thumbnail = images().thumbnail(&path, 300).await.unwrap();
        assert_eq!(thumbnail.mime, "image/jpeg", "{format:?}");
        let small = image::load_from_memory(&thumbnail.bytes).unwrap();
        assert_eq!((small.width(), small.height()), (320, 160));
    }
    let path = put(&folder, &file(&picture(50, 100), ImageFormat::Png));
    let small = images().thumbnail(&path, 1280).await.unwrap();
    assert_eq!(image::load_from_memory(&small.bytes).unwrap().height(), 100);
    // So thin that rounding would leave nothing.
    let path = put(&folder, &file(&picture(4000, 1), ImageFormat::Png));
    images().probe(&path).await.unwrap();
    images().thumbnail(&path, 160).await.unwrap();
}

#[tokio::test]
async fn what_shines_through_goes_on_doing_so() {
    let folder = TempDir::new().unwrap();
    let clear: DynamicImage = RgbaImage::from_pixel(400, 400, Rgba([9, 9, 9, 50])).into();
    let path = put(&folder, &file(&clear, ImageFormat::WebP));
    let thumbnail = images().thumbnail(&path, 160).await.unwrap();
    assert_eq!(thumbnail.mime, "image/png");
    let small = image::load_from_memory(&thumbnail.bytes).unwrap().to_rgba8();
    assert_eq!(small.get_pixel(80, 80), &Rgba([9, 9, 9, 50]));
}

#[tokio::test]
async fn a_turned_picture_is_shown_upright_and_says_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, &turned(&picture(800, 400), 6));
    let info = images().probe(&path).await.unwrap();
    assert_eq!((info.width, info.height), (400, 800));
    let thumbnail = images().thumbnail(&path, 320).await.unwrap();
    let small = image::load_from_memory(&thumbnail.bytes).unwrap().to_rgb8();
    assert_eq!((small.width(), small.height()), (160, 320));
    // A quarter to the right: what was left is above.
    assert!(small.get_pixel(80, 20).0[0] > 200 && small.get_pixel(80, 300).0[2] > 200);
    for secret in [&b"Exif"[..], b"SECRET"] {
        assert!(!thumbnail.bytes.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test]
async fn bombs_are_refused_by_what_they_say() {
    let folder = TempDir::new().unwrap();
    for (width, height) in [(50_000, 50_000), (u32::MAX >> 1, u32::MAX >> 1), (9_000, 8_000)] {
        let path = put(&folder, &bomb(width, height));
        let began = std::time::Instant::now();
        let refused = images().probe(&path).await.unwrap_err();
        assert!(matches!(refused, ImageError::TooLarge | ImageError::Damaged(_)), "{refused:?}");
        assert!(began.elapsed().as_secs() < 2);
    }
    let path = put(&folder, &bomb(50_000, 50_000));
    assert_eq!(images().probe(&path).await.unwrap_err().reason(), "image_too_large");
    let path = put(&folder, &file(&picture(100, 100), ImageFormat::Png));
    let few = Images::new(ImageLimits { pixels: 9_999, ..ImageLimits::default() });
    assert_eq!(few.probe(&path).await.unwrap_err().reason(), "image_too_large");
    let short = Images::new(ImageLimits { file_bytes: 10, ..ImageLimits::default() });
    assert_eq!(short.probe(&path).await.unwrap_err().reason(), "image_too_large");
    let quick = Images::new(ImageLimits { time_ms: 0, ..ImageLimits::default() });
    assert_eq!(quick.probe(&path).await.unwrap_err().reason(), "image_too_slow");
}

#[tokio::test]
async fn what_is_no_picture_is_said_to_be_none() {
    let folder = TempDir::new().unwrap();
    for bytes in [&b""[..], b"hello", b"BM\0\0\0\0", b"<svg/>"] {
        let path = put(&folder, bytes);
        assert_eq!(images().probe(&path).await.unwrap_err().reason(), "not_image");
    }
}

#[tokio::test]
async fn those_who_wait_have_a_limit() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, &file(&picture(2000, 2000), ImageFormat::Png));
    let few = Images::new(ImageLimits { waiting: 2, ..ImageLimits::default() });
    let all = futures::future::join_all((0..5).map(|_| few.probe(&path))).await;
    let busy = |done: &&Result<_, ImageError>| matches!(done, Err(ImageError::Busy));
    assert_eq!(all.iter().filter(busy).count(), 2);
    few.probe(&path).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn damage_is_an_error_and_no_panic(
        which in 0..4_usize,
        keep in 0.0..1.0_f64,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let format = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP][which];
        let mut bytes = file(&picture(64, 48), format);
        bytes.truncate((bytes.len() as f64 * keep) as usize + 1);
        for (at, to) in flips {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let folder = TempDir::new().unwrap();
        let path = put(&folder, &bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let _ = images().probe(&path).await;
            let _ = images().thumbnail(&path, 160).await;
        });
    }
}
