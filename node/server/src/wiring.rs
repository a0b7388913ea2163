//! From the configuration to what each room of the house takes. A limit that is added there is mapped
//! here, and the tests see to it that the defaults agree.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use homing_bridge::{BridgeConfig, BridgeLimits};
use homing_core::presence::PresenceLimits;
use homing_core::{CourierLimits, Policy};
use homing_media::{
    Blobs, BlobsConfig, Cache, CacheLimits, FilmLimits, Films, ImageLimits, Images, S3Config,
    UploadLimits, Uploads,
};
use homing_net::{NetConfig, NetHandle, NetLimits};
use homing_store::{JournalConfig, JournalStore, Store, StoreError};
use homing_wire::{Epoch, HomeId};

use crate::config::{Config, FirstContact, MediaStore};
use crate::keys::Keys;
use crate::media::{Media, MediaLimits, MediaParts};
use crate::node::{Directory, FilesDoor};
use crate::search::SearchLimits;
use crate::tidy::TidyLimits;

/// What the operator decides about the core.
pub fn policy(config: &Config) -> Policy {
    let l = &config.limits;
    Policy {
        first_contact_request: config.federation.first_contact == FirstContact::Request,
        first_contact_messages: l.first_contact_messages,
        channels_cached: l.channels_cached,
        accounts_cached: l.accounts_cached,
        lists_cached: l.lists_cached,
        ids_bytes: l.ids_bytes,
        pull_after_ms: l.relay_pull_after_ms,
        group_members: config.groups.max_members,
        fork_after_ms: config.groups.fork_after_ms,
        invitations_of_user: config.groups.invitations_of_user,
        invitations_of_home: config.groups.invitations_of_home,
        requests_of_user: config.federation.requests_of_user,
        requests_of_home: config.federation.requests_of_home,
        contacts: l.contacts,
        blocks: l.blocks,
        draft_bytes: l.draft_bytes,
        pinned: l.pinned,
        avatar_bytes: config.media.avatar_bytes,
        token_idle_ms: l.token_idle_days * 24 * 3_600_000,
    }
}

/// What goes to another home, and how far ahead of its answers.
pub fn courier(config: &Config) -> CourierLimits {
    let l = &config.limits;
    CourierLimits {
        window_bytes: l.relay_window_bytes,
        answer_ms: l.relay_answer_ms,
        ..CourierLimits::default()
    }
}

/// Who is there, and who is told.
pub fn presence(config: &Config) -> PresenceLimits {
    let l = &config.limits;
    PresenceLimits {
        online_ms: l.online_ms,
        watched_by_session: l.watched,
        watches: l.watches,
        watches_of_home: l.watches_of_home,
        watches_of_homes: l.watches_of_homes,
        ..PresenceLimits::default()
    }
}

/// The bridge in this process.
pub fn bridge(config: &Config) -> BridgeConfig {
    let l = &config.limits;
    BridgeConfig {
        listen: config.bridge.listen,
        public_url: config.bridge.public_url.as_ref().map(|url| url.as_str().to_owned()),
        limits: BridgeLimits {
            frame_bytes: l.frame_bytes,
            batch_calls: l.batch_calls,
            calls_waiting: l.calls_waiting,
            server_frame_bytes: l.server_frame_bytes,
            write_idle_ms: l.write_idle_ms,
            sign_in_ms: l.sign_in_ms,
            sign_in_attempts: l.sign_in_attempts,
            header_ms: l.http_header_ms,
            header_bytes: l.http_header_bytes,
            http_body_bytes: l.http_body_bytes,
            http_body_ms: l.http_body_ms,
            http_connection_ms: l.http_connection_ms,
            connections: l.connections,
            connections_per_ip: l.connections_per_ip,
            calls_per_second: l.calls_per_s,
            calls_burst: l.calls_burst,
            busy_retry_ms: l.busy_retry_ms,
            busy_ignored: l.busy_ignored,
            ping_ms: l.ping_ms,
            silence_ms: l.silence_ms,
            close_ms: l.close_ms,
            transfers: l.transfers,
            refused_body_bytes: l.refused_body_bytes,
            transfers_per_user: l.transfers_per_user,
            media_idle_ms: l.media_idle_ms,
            media_window_ms: l.media_window_ms,
            media_window_bytes: l.media_window_bytes,
            send_buffer_bytes: l.send_buffer_bytes,
        },
    }
}

/// The network between homes.
pub fn net(config: &Config) -> NetConfig {
    let l = &config.limits;
    let ms = Duration::from_millis;
    NetConfig {
        listen: config.p2p.listen.iter().map(|a| a.as_str().to_owned()).collect(),
        allow_private: config.p2p.allow_private,
        limits: NetLimits {
            connections: l.peer_connections,
            connections_per_peer: l.connections_per_peer,
            pending_connections: l.pending_connections,
            streams_per_connection: l.streams_per_connection,
            events_queue: l.net_events_queue,
            commands_queue: l.net_commands_queue,
            relay_queue_frames: l.relay_queue_frames,
            relay_queue_bytes: l.relay_queue_bytes,
            relay_frame_bytes: l.relay_frame_bytes,
            hello_deadline: ms(l.hello_deadline_ms),
            clone_probe: ms(l.clone_probe_ms),
            query_timeout: ms(l.query_timeout_ms),
            queries_per_peer: l.queries_per_peer,
            media_in_per_peer: l.media_in_per_peer,
            media_out_per_peer: l.media_out_per_peer,
            media_idle: ms(l.media_between_idle_ms),
            heartbeat: ms(l.heartbeat_ms),
            relay_deadline: ms(l.relay_deadline_ms),
            backoff_min: ms(l.backoff_min_ms),
            backoff_max: ms(l.backoff_max_ms),
            dial_stagger: ms(l.dial_stagger_ms),
            handshake_timeout: ms(l.handshake_timeout_ms),
            dial_addresses: l.dial_addresses,
            idle_connection_timeout: ms(l.idle_connection_ms),
            memory_share: l.memory_share,
            gossip_topics: l.gossip_topics,
            gossip_message_bytes: l.gossip_message_bytes,
            gossip_queue_messages: l.gossip_queue_messages,
            gossip_messages_per_s: l.gossip_messages_per_s,
            gossip_bytes_per_s: l.gossip_bytes_per_s,
        },
    }
}

/// The search index.
pub(crate) fn search(config: &Config) -> SearchLimits {
    let s = &config.search;
    SearchLimits {
        folder: config.search_folder(),
        memory_bytes: s.memory_mb << 20,
        commit_every: Duration::from_millis(s.commit_ms),
        of_user: s.of_user,
        // The other half is for writing the files anew.
        erase_after: Duration::from_millis(config.retention.erase_after.ms() / 2),
    }
}

/// What leaves the disk, and how fast.
pub(crate) fn tidy(config: &Config) -> TidyLimits {
    TidyLimits {
        erase_after: Duration::from_millis(config.retention.erase_after.ms()),
        bytes_per_s: config.store.tidy_bytes_per_s,
    }
}

/// Where the bytes of files are.
pub(crate) fn blobs(config: &Config) -> BlobsConfig {
    let m = &config.media;
    let endpoint = m.s3_endpoint.as_ref().map(|url| url.as_str().to_owned());
    match m.store {
        MediaStore::Folder => BlobsConfig::Folder(config.media_folder()),
        MediaStore::S3 => BlobsConfig::S3(S3Config {
            allow_http: endpoint.as_ref().is_some_and(|url| url.starts_with("http://")),
            endpoint,
            region: m.s3_region.clone(),
            bucket: m.s3_bucket.clone(),
            prefix: m.s3_prefix.clone(),
            access_key_id: m.s3_key_id.clone(),
            secret_access_key: m.s3_key.0.clone(),
        }),
    }
}

/// Files. Blocks for a moment: rows of all files are read.
pub(crate) async fn media(
    config: &Config,
    keys: &Keys,
    directory: &Directory,
    store: &Arc<dyn Store>,
    hub: FilesDoor,
    net: &NetHandle,
    now: fn() -> u64,
) -> anyhow::Result<Arc<Media>> {
    let m = &config.media;
    let folder = config.media_folder();
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)))
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let uploads = UploadLimits {
        upload_bytes: m.upload_bytes,
        open_of_user: m.uploads_of_user,
        expiry_ms: m.upload_expires_ms,
        idle_ms: m.upload_idle_ms,
        ..UploadLimits::default()
    };
    let image_limits = ImageLimits {
        workers: m.image_workers,
        waiting: m.images_waiting,
        pixels: m.image_pixels,
        memory_bytes: (m.image_memory_mb as u64) << 20,
        ..ImageLimits::default()
    };
    let films = FilmLimits { read_bytes: m.film_read_bytes, time_ms: m.film_time_ms };
    let cache = CacheLimits { bytes: m.cache_bytes, fetches: m.fetches, ..CacheLimits::default() };
    let images = Images::new(image_limits.clone());
    let copies = folder.join("copies");
    // What a crash has left there.
    if let Err(error) = std::fs::remove_dir_all(&copies)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot remove {}", copies.display()));
    }
    std::fs::create_dir_all(&copies)
        .with_context(|| format!("cannot make {}", copies.display()))?;
    // Of the signing key, so that links outlive a restart; nobody who has one learns anything of the key.
    let link_key = blake3::derive_key("homing media links v1", &keys.signing.to_bytes());
    let parts = MediaParts {
        limits: MediaLimits {
            upload_bytes: m.upload_bytes,
            user_bytes: m.user_bytes,
            home_bytes: m.home_bytes,
            min_free_bytes: config.limits.min_free_disk_bytes,
            avatar_bytes: m.avatar_bytes,
            image_bytes: image_limits.file_bytes,
            unnamed_ms: m.unnamed_ms,
            sweep_ms: m.sweep_ms,
            link_ms: m.link_ms,
        },
        directory: directory.clone(),
        store: store.clone(),
        hub,
        net: net.clone(),
        blobs: Blobs::open(blobs(config))?,
        uploads: Uploads::open(folder.join("uploads"), uploads, now).await?,
        cache: Cache::open(folder.join("cache"), cache).await?,
        films: Films::new(films, &images),
        images,
        copies,
        link_key,
        now,
    };
    Ok(tokio::task::spawn_blocking(move || Media::new(parts)).await??)
}

/// The default engine. Whose store it must be is for the caller to say.
pub fn journal(config: &Config) -> JournalConfig {
    let s = &config.store;
    JournalConfig {
        home: None,
        segment_bytes: s.segment_bytes,
        checkpoint_every: Duration::from_millis(s.checkpoint_ms),
        checkpoint_bytes: s.checkpoint_bytes,
        entry_cache_bytes: s.entry_cache_bytes,
        chunk_cache_bytes: s.chunk_cache_bytes,
        index_cache_bytes: s.index_cache_bytes,
        open_segments: s.open_segments,
        min_free_bytes: config.limits.min_free_disk_bytes,
        reserve_bytes: s.reserve_bytes,
        ..JournalConfig::default()
    }
}

/// Opens the store of a home. Blocks: replaying a journal can take seconds.
pub fn open_store(config: &Config, home: HomeId) -> Result<JournalStore, StoreError> {
    JournalStore::open(
        &config.store_folder(),
        JournalConfig { home: Some(home), ..journal(config) },
    )
}

/// Makes the store of a new home, or of a new life of one.
pub fn create_store(folder: &Path, home: HomeId, epoch: Epoch) -> Result<(), StoreError> {
    JournalStore::create(folder, home, epoch)?;
    // People's words: for the home's own account alone, wherever the folder is copied to.
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(
        |e| StoreError::Io {
            what: "set permissions of",
            path: folder.to_owned(),
            error: std::sync::Arc::new(e),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_rooms() {
        let config = Config::default();
        let bridge = bridge(&config);
        assert_eq!(format!("{bridge:?}"), format!("{:?}", BridgeConfig::default()));
        assert_eq!(format!("{:?}", policy(&config)), format!("{:?}", Policy::default()));
        let presence = presence(&config);
        assert_eq!(format!("{presence:?}"), format!("{:?}", PresenceLimits::default()));
        let net = net(&config);
        assert_eq!(format!("{:?}", net.limits), format!("{:?}", NetLimits::default()));
        assert_eq!(format!("{:?}", journal(&config)), format!("{:?}", JournalConfig::default()));
    }
}
