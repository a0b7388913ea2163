//! Every limit, with its default and the reason for it. The words after the keys are the sample's.

use super::settings::section;

/// A day in milliseconds: no time limit is longer.
const DAY_MS: u64 = 86_400_000;
/// No memory limit is larger: a mistyped zero shall be noticed.
const MEMORY: u64 = 64 << 30;

section! {
    /// What clients, other homes and the disk may cost. Bytes, milliseconds and counts, as the names say.
    Limits = "limits" {
        // The node.

        /// Signed-in sockets. About 12 KiB each: 20,000 take 240 MiB.
        sessions: usize = 20_000, in 1..=1_000_000;
        /// What may wait for one client that does not read; past it the socket is cut (4408) and catches up.
        /// A full page of messages and the chatter meanwhile fit.
        outbox_bytes: usize = 4 << 20, in 1_048_576..=MEMORY;
        /// Calls from the sessions that wait for the event loop. Sessions wait beyond; enough to fill a commit.
        requests_queue: usize = 1_024, in 1..=65_536;
        /// Messages a second of one user in the long run: far above people and most bots, yet one user
        /// cannot take a whole disk.
        sends_per_s: u32 = 5_000, in 1..=1_000_000;
        /// Messages of one user at once, after a pause.
        sends_burst: u32 = 10_000, in 1..=1_000_000;
        /// A message body as compact JSON. Homes refuse more than 65536 from each other, so it can only be lowered.
        body_bytes: usize = homing_wire::limits::BODY_BYTES, in 1_024..=65_536;
        /// Messages in a page of messages.list; channels.list has half.
        page_messages: usize = 200, in 1..=1_000;
        /// Calls decided into one commit: bounds how long the first of them waits for its answer.
        commit_batch: usize = 512, in 1..=65_536;
        /// Reading calls at the disk at once; more wait in their session's place.
        reads_at_once: usize = 64, in 1..=4_096;
        /// Channels kept in memory, about 1 KiB each: what every message needs is not read from disk.
        channels_cached: usize = 20_000, in 100..=10_000_000;
        /// Accounts kept in memory, about 300 bytes each.
        accounts_cached: usize = 20_000, in 100..=10_000_000;
        /// Users' lists of channels kept in memory, about 50 bytes a channel.
        lists_cached: usize = 2_000, in 10..=1_000_000;
        /// Messages remembered in each of two generations so that repeats are known without the disk.
        ids_bytes: usize = 16 << 20, in 1_048_576..=MEMORY;
        /// Read and delivered marks are gathered so long before they are told: people do not notice, disks do.
        marks_gather_ms: u64 = 1_000, in 10..=60_000;
        /// Channels looked at in that time for messages that are too old, where `retention.messages` says so: one read of the
        /// disk each. Two million a night at 64.
        retention_channels: usize = 64, in 1..=4_096;
        /// Messages of a first contact from another home until it is accepted.
        first_contact_messages: u64 = 5, in 1..=100;
        /// Contacts of one user, about 100 bytes each on disk: more than anybody knows.
        contacts: usize = 5_000, in 1..=100_000;
        /// Users whom one user has blocked, about 100 bytes each on disk.
        blocks: usize = 5_000, in 1..=100_000;
        /// People found by one users.search: more than fit a screen; another letter says whom is meant.
        users_found: usize = 50, in 1..=1_000;
        /// Bytes of what is searched for by one messages.search, in UTF-8: a long sentence.
        search_query_bytes: usize = 1_024, in 16..=16_384;
        /// Bytes of what one user is writing in one channel, kept for all devices: longer texts are files.
        draft_bytes: usize = 16 << 10, in 0..=65_536;
        /// Channels that one user has pinned: more than fit a screen.
        pinned: usize = 100, in 0..=10_000;
        /// A token that nobody has used for so many days is dead: a telephone in a drawer is signed in no longer. One
        /// that is used lives for ever.
        token_idle_days: u64 = 90, in 1..=3_650;
        /// A user is online for so long after the last sign of life (a call, or anything else that comes by the socket). Clients
        /// count on 30 s. More than ping_ms, or whoever is quiet comes and goes.
        online_ms: u64 = 30_000, in 1_000..=600_000;
        /// Users whom one socket watches: what fits a screen, many times.
        watched: usize = 500, in 1..=10_000;
        /// Users whom all sockets watch, counted for each. About 100 bytes each: 500,000 take 50 MiB.
        watches: usize = 500_000, in 1..=100_000_000;
        /// Users of this home whom one other home watches, counted for each of its users who does, about 100 bytes each; what is
        /// more is passed over. This home asks no more of one, either.
        watches_of_home: usize = 10_000, in 1..=10_000;
        /// The same of all other homes: 200,000 take 20 MiB.
        watches_of_homes: usize = 200_000, in 1..=100_000_000;
        /// Failed log-ins a minute for one account; then 429. A typing error, not a search.
        login_failures_per_account: u32 = 10, in 1..=10_000;
        /// Failed log-ins a minute from one address (IPv6: one /64); an office shares one.
        login_failures_per_address: u32 = 50, in 1..=100_000;
        /// Addresses and accounts whose failures are counted; the longest idle go first. About 100 bytes each.
        login_failures_kept: usize = 50_000, in 100..=10_000_000;
        /// Passwords hashed at once: each takes 19 MiB and 20 ms of a processor.
        password_workers: usize = 2, in 1..=256;
        /// Passwords that wait to be hashed; more are told to come again (busy). About 2 s of work.
        password_queue: usize = 200, in 1..=10_000;
        /// Look-ups of other homes' users under way; more are told to come again (busy).
        lookups: usize = 256, in 1..=65_536;
        /// Sends answer "busy" while less is free on the disk of the data: room to delete, back up and shut down.
        min_free_disk_bytes: u64 = 512 << 20, in 0..=1_125_899_906_842_624;
        /// How long a stop waits for calls under way and clients to be told.
        drain_ms: u64 = 10_000, in 0..=600_000;

        // The bridge.

        /// Connections of clients, signed in or not.
        connections: usize = 20_000, in 1..=1_000_000;
        /// Connections of one address (IPv6: of one /64). An office behind one address gets in, one machine
        /// cannot take all. Loopback is free of it: a proxy lives there.
        connections_per_ip: usize = 4_096, in 1..=1_000_000;
        /// A client's WebSocket message. A full body fits even when most of it is escapes.
        frame_bytes: usize = 256 << 10, in 1_024..=16_777_216;
        /// A WebSocket message to a client: what common libraries take by default.
        server_frame_bytes: usize = 1 << 20, in 65_536..=16_777_216;
        /// Calls in a batch: a screen full of things in one round trip.
        batch_calls: usize = 32, in 1..=1_024;
        /// Calls of one socket that may wait for an answer; more are read later. Fills a commit from one client.
        calls_waiting: usize = 128, in 1..=4_096;
        /// Calls a second of one socket in the long run: more than calls_waiting can make, less than a loop gone wild.
        calls_per_s: u32 = 10_000, in 1..=10_000_000;
        /// Calls of one socket at once, after a pause.
        calls_burst: u32 = 20_000, in 1..=10_000_000;
        /// What a refused call is told to wait: long enough that the next burst is worth it.
        busy_retry_ms: u64 = 250, in 1..=60_000;
        /// Calls made in spite of that until the socket is closed (4429). More than may be in flight then.
        busy_ignored: u32 = 1_000, in 1..=1_000_000;
        /// A socket on which nobody signs in is closed (4401).
        sign_in_ms: u64 = 10_000, in 100..=600_000;
        /// Refused tokens on one socket until it is closed (4401): a typing error, not a search.
        sign_in_attempts: u32 = 3, in 1..=100;
        /// A client that takes nothing for so long while something waits for it is cut (4408).
        write_idle_ms: u64 = 30_000, in 100..=600_000;
        /// A socket that said nothing for so long is pinged. Below online_ms, and the 60 s after which proxies forget it.
        ping_ms: u64 = 20_000, in 100..=600_000;
        /// A socket that said nothing for so long, pings included, is gone. More than ping_ms.
        silence_ms: u64 = 75_000, in 100..=DAY_MS;
        /// How long closing a socket may take.
        close_ms: u64 = 5_000, in 10..=60_000;
        /// Files on their way at once, to and from clients. Each holds some 100 KiB here, half a MiB in the kernel and a file
        /// descriptor; more are told to come again.
        transfers: usize = 512, in 1..=100_000;
        /// Of those, so many of one token or one link: a browser asks for six at once.
        transfers_per_user: usize = 16, in 1..=100_000;
        /// So much of an upload that is refused is still read, so that the client reads why; of a longer one the connection ends.
        refused_body_bytes: u64 = 1 << 20, in 0..=1_073_741_824;
        /// A client that sends or takes nothing of a file for so long is cut; it goes on from where it was.
        media_idle_ms: u64 = 60_000, in 10..=3_600_000;
        /// Over so long a time of waiting for the client...
        media_window_ms: u64 = 60_000, in 10..=3_600_000;
        /// ...at least so many bytes of a file must flow. 1 KiB/s is what the slowest mobile line gives.
        media_window_bytes: u64 = 65_536, in 0..=1_073_741_824;
        /// The kernel's send buffer of a socket: what it may take for a client that does not read.
        send_buffer_bytes: usize = 256 << 10, in 4_096..=16_777_216;
        /// How long the headers of a request may take, and a kept-alive connection may be idle.
        http_header_ms: u64 = 5_000, in 100..=600_000;
        /// Size of a request's headers. Browsers with many cookies stay below.
        http_header_bytes: usize = 32 << 10, in 8_192..=1_048_576;
        /// A request's body: a name, a password, an invite.
        http_body_bytes: usize = 64 << 10, in 1_024..=16_777_216;
        /// How long a request's body may take. A password over a bad mobile link arrives in time.
        http_body_ms: u64 = 10_000, in 100..=600_000;
        /// How long one connection may speak HTTP, whatever it does.
        http_connection_ms: u64 = 120_000, in 100..=DAY_MS;

        // The network between homes.

        /// Connections of other homes, about 50 KiB each.
        peer_connections: u32 = 4_096, in 1..=1_000_000;
        /// Connections of one node of another home: both sides may dial at once, and a dead one be replaced.
        connections_per_peer: u32 = 4, in 2..=64;
        /// Connections whose handshake is under way, in and out each: what a flood of half-open ones costs.
        pending_connections: u32 = 256, in 1..=65_536;
        /// Streams of one connection: two of the relay and the look-ups need far fewer.
        streams_per_connection: u32 = 256, in 8..=65_536;
        /// Events of the network that wait for the event loop; beyond, peers are slowed.
        net_events_queue: usize = 256, in 1..=65_536;
        /// Commands to the network that wait; callers wait beyond.
        net_commands_queue: usize = 256, in 1..=65_536;
        /// Frames between the event loop and one peer, each way: a batch of the commit loop.
        relay_queue_frames: usize = 64, in 1..=4_096;
        /// Bytes of frames from one peer that wait for the event loop: what a peer can make this node hold.
        relay_queue_bytes: u32 = 2 << 20, in 1_048_576..=1_073_741_824;
        /// The largest frame between homes: several full events share one.
        relay_frame_bytes: usize = homing_wire::limits::RELAY_FRAME_BYTES, in 131_072..=1_048_576;
        /// Sent to one home and not yet acknowledged. Over a 100 ms path it carries 40 MiB a second.
        relay_window_bytes: usize = 4 << 20, in 131_072..=MEMORY;
        /// How long a home may take to answer what it was sent. A commit takes milliseconds, a full disk minutes.
        relay_answer_ms: u64 = 60_000, in 1_000..=3_600_000;
        /// Faults of one home within peer_faults_window_ms at which it is cut: one may be an old bug, three are not. A lie
        /// about what it holds cuts at once.
        peer_faults: usize = 3, in 1..=1_000;
        /// How long a fault is held against a home: what a bug does once a day is no attack.
        peer_faults_window_ms: u64 = 600_000, in 1_000..=DAY_MS;
        /// A home that was cut for what it did is refused so long (`misbehaved`), then twice as long with each cut: its
        /// operator sees it, and a bug that shows once stops nothing for long.
        peer_fault_backoff_min_ms: u64 = 60_000, in 0..=DAY_MS;
        /// The longest that it is refused. After so long without a cut it begins anew.
        peer_fault_backoff_max_ms: u64 = 3_600_000, in 0..=7 * DAY_MS;
        /// What has been owed to a home for longer is not pushed when it returns: it asks, at its own pace.
        relay_pull_after_ms: u64 = 30 * DAY_MS, in 60_000..=365 * DAY_MS;
        /// After a start at which the clock stands over five minutes from the newest message on disk (a long pause, or a
        /// wrong clock), messages wait at most so long for other homes' clocks. A hello takes a second at most.
        clock_wait_ms: u64 = 3_000, in 0..=60_000;
        /// After a restore, messages to a home within reach wait at most so long for what it still holds.
        reconcile_hold_ms: u64 = 60_000, in 0..=3_600_000;
        /// From a connection to the end of hello.
        hello_deadline_ms: u64 = 5_000, in 100..=600_000;
        /// How long a connected node may take to say that it lives, when another shows itself as the same node (a
        /// copied directory, or a restart after a kill that the network has not noticed). Longer: it is gone. Below
        /// `hello_deadline_ms`, within which it falls.
        clone_probe_ms: u64 = 3_000, in 50..=300_000;
        /// How long a look-up at another home may take, connecting included. channels.open waits so long.
        query_timeout_ms: u64 = 10_000, in 100..=600_000;
        /// Look-ups with one home under way, each direction; more are answered busy.
        queries_per_peer: usize = 64, in 1..=4_096;
        /// Files that one home may take at once. One fills a line alone; eight let small ones pass by a large one.
        media_in_per_peer: usize = 8, in 1..=1_024;
        /// Files that are taken from one home at once; likewise.
        media_out_per_peer: usize = 8, in 1..=1_024;
        /// So long a file between homes may not move before its stream is ended.
        media_between_idle_ms: u64 = 30_000, in 10..=3_600_000;
        /// A relay stream is pinged this often.
        heartbeat_ms: u64 = 5_000, in 50..=600_000;
        /// A relay stream on which nothing came for so long is dead. Three heartbeats.
        relay_deadline_ms: u64 = 15_000, in 100..=3_600_000;
        /// First wait after a failed dial; the waits double, with jitter.
        backoff_min_ms: u64 = 500, in 10..=600_000;
        /// Longest wait between dials: a home that was away for a month is found again within it.
        backoff_max_ms: u64 = 60_000, in 10..=DAY_MS;
        /// The next address is tried after this time even if the one before has not failed yet.
        dial_stagger_ms: u64 = 1_000, in 10..=60_000;
        /// Transport and security handshake of one dial.
        handshake_timeout_ms: u64 = 5_000, in 100..=600_000;
        /// Addresses of one home tried in a round: a record may hold a thousand.
        dial_addresses: usize = 16, in 1..=1_024;
        /// A connection without streams is closed after this time.
        idle_connection_ms: u64 = 60_000, in 100..=DAY_MS;
        /// No new connections of homes while the process uses more than this share of physical memory.
        memory_share: f64 = 0.8;
        /// Gossip topics that this node joins: one for each large group, two around midnight. Each costs a mesh of about four
        /// homes. Homes refuse more than 512 from each other, so it can only be lowered.
        gossip_topics: usize = 512, in 1..=512;
        /// The largest payload of one gossip message: a full event. What is larger goes by the relay streams alone.
        gossip_message_bytes: usize = 131_072, in 1_024..=1_048_576;
        /// Gossip messages that wait for one home; what comes beyond is dropped for that home, which gets it by its stream.
        gossip_queue_messages: usize = 256, in 1..=65_536;
        /// New gossip messages taken in a second, from all homes together; one home may bring a quarter, repetitions
        /// included. Ids are remembered for two minutes, about 400 bytes each: at the very worst 100 MiB.
        gossip_messages_per_s: u32 = 2_000, in 4..=1_000_000;
        /// Their payloads. They are kept for four seconds, and one home's quarter must hold a `gossip_message_bytes`.
        gossip_bytes_per_s: u32 = 16 << 20, in 4_096..=1_073_741_824;
        /// Groups of which one home's gossip keys are kept, two of each, about 200 bytes. Of others its events come by its stream.
        gossip_keys_per_peer: usize = 1_024, in 1..=65_536;
    }
}
