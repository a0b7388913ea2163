//! Blobs in S3: `HOMING_TEST_S3=http://127.0.0.1:5000 cargo test -p homing-media -- --ignored s3`, with a server there (moto) that
//! has a bucket `homing`.

use bytes::Bytes;
use futures::TryStreamExt;
use homing_media::{Blobs, BlobsConfig, S3Config, thumbnail_key, thumbnail_prefix};
use homing_wire::Hash;
use tempfile::TempDir;

use crate::{all, drain, noise};

#[tokio::test]
#[ignore = "needs a server, at HOMING_TEST_S3"]
async fn s3_does_what_a_folder_does() {
    let blobs = Blobs::open(BlobsConfig::S3(S3Config {
        endpoint: Some(std::env::var("HOMING_TEST_S3").unwrap()),
        region: "us-east-1".into(),
        bucket: "homing".into(),
        prefix: "some/where".into(),
        access_key_id: "key".into(),
        secret_access_key: "secret".into(),
        allow_http: true,
    }))
    .unwrap();
    let folder = TempDir::new().unwrap();
    let staged = folder.path().join("staged");
    for length in [0, 5, 20_000_000] {
        let bytes = noise(1, length);
        let (hash, size) = (Hash::of(&bytes), length as u64);
        assert_eq!(blobs.size(hash).await.unwrap(), None);
        for was_there in [false, true] {
            std::fs::write(&staged, &bytes).unwrap();
            assert_eq!(blobs.put(&staged, hash, size).await.unwrap().was_there, was_there);
            assert!(!staged.exists());
        }
        assert!(all(blobs.read(hash, 0..size)).await == bytes);
        assert!(all(blobs.read(hash, size / 2..size)).await == bytes[length / 2..]);
        assert!(drain(blobs.read(hash, 0..size + 1)).await.1.is_err());
        let listed: Vec<_> = blobs.list().try_collect().await.unwrap();
        assert_eq!(
            listed.iter().map(|found| (found.hash, found.size)).collect::<Vec<_>>(),
            [(hash, size)]
        );
        blobs.remove(hash).await.unwrap();
        blobs.remove(hash).await.unwrap();
        assert_eq!(blobs.size(hash).await.unwrap(), None);
    }
    let key = thumbnail_key(Hash::of(b""), 160, "jpg");
    blobs.put_small(&key, Bytes::from_static(b"jpeg")).await.unwrap();
    assert!(blobs.get_small(&key).await.unwrap().is_some());
    blobs.remove_small_prefix(&thumbnail_prefix(Hash::of(b""))).await.unwrap();
    assert_eq!(blobs.get_small(&key).await.unwrap(), None);
}
