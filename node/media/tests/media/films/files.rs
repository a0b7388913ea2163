//! Small files, byte by byte.

/// A box of ISO/IEC 14496-12.
pub(super) fn part(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, body].concat()
}

/// A track of an MP4.
#[derive(Clone, Copy)]
pub(super) struct Track {
    pub(super) kind: [u8; 4],
    pub(super) width: u16,
    pub(super) height: u16,
    /// How it is turned: `a`, `b`, `c`, `d`.
    pub(super) matrix: [i32; 4],
}

impl Track {
    pub(super) fn video(width: u16, height: u16) -> Self {
        Self { kind: *b"vide", width, height, matrix: [1, 0, 0, 1] }
    }

    fn part(self, version: u8) -> Vec<u8> {
        let times = if version == 1 { 32 } else { 20 };
        let mut header = vec![version, 0, 0, 7];
        header.resize(4 + times + 16, 0);
        let [a, b, c, d] = self.matrix.map(|value| value << 16);
        for value in [a, b, 0, c, d, 0, 0, 0, 1 << 30] {
            header.extend(value.to_be_bytes());
        }
        for edge in [self.width, self.height] {
            header.extend((u32::from(edge) << 16).to_be_bytes());
        }
        let handler = [&[0; 8][..], &self.kind, &[0; 12], b"a handler\0"].concat();
        let media = part(b"mdia", &[part(b"mdhd", &[0; 24]), part(b"hdlr", &handler)].concat());
        part(b"trak", &[part(b"tkhd", &header), media].concat())
    }
}

/// A film without a frame: 16 bytes, and `moov`. A tick is a millisecond; `version` says how many bytes times have.
pub(super) fn mp4(version: u8, ticks: u32, tracks: &[Track]) -> Vec<u8> {
    let mut header = vec![version, 0, 0, 0];
    if version == 1 {
        header.extend([0; 16]);
        header.extend(1_000_u32.to_be_bytes());
        header.extend(u64::from(ticks).to_be_bytes());
    } else {
        header.extend([0; 8]);
        header.extend(1_000_u32.to_be_bytes());
        header.extend(ticks.to_be_bytes());
    }
    header.extend([0; 80]);
    let mut movie = part(b"mvhd", &header);
    for track in tracks {
        movie.extend(track.part(version));
    }
    [part(b"ftyp", b"isom\0\0\0\0"), part(b"moov", &movie)].concat()
}

/// An element of RFC 8794.
pub(super) fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let size = match u8::try_from(body.len()) {
        Ok(size) if size < 0x7f => vec![0x80 | size],
        Ok(_) | Err(_) => (body.len() as u64 | 1 << 56).to_be_bytes().to_vec(),
    };
    [id, &size, body].concat()
}

/// An element that says it has so many bytes, and the first of them.
pub(super) fn claims(id: &[u8], size: u64, body: &[u8]) -> Vec<u8> {
    [id, &(size | 1 << 56).to_be_bytes(), body].concat()
}

pub(super) const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
pub(super) const INFO: [u8; 4] = [0x15, 0x49, 0xa9, 0x66];
pub(super) const TRACKS: [u8; 4] = [0x16, 0x54, 0xae, 0x6b];

/// What a WebM begins with.
pub(super) fn head() -> Vec<u8> {
    let versions = [element(&[0x42, 0x87], &[4]), element(&[0x42, 0x85], &[2])].concat();
    let body = [element(&[0x42, 0x82], b"webm"), versions].concat();
    element(&[0x1a, 0x45, 0xdf, 0xa3], &body)
}

/// A segment of these elements and a cluster.
pub(super) fn webm(elements: &[Vec<u8>]) -> Vec<u8> {
    let cluster = element(&[0x1f, 0x43, 0xb6, 0x75], &element(&[0xe7], &[0]));
    // A file that is shorter is told by nobody.
    let void = element(&[0xec], &[0; 300]);
    let segment = [elements.concat(), void, cluster].concat();
    [head(), element(&SEGMENT, &segment)].concat()
}

/// The beginning of a WebM that says where these two are, and so is not searched for them.
pub(super) fn sought(info: &[u8], tracks: &[u8]) -> Vec<u8> {
    let seek = |id: &[u8], at: usize| {
        let at = u32::try_from(at).unwrap().to_be_bytes();
        let entry = [element(&[0x53, 0xab], id), element(&[0x53, 0xac], &at)].concat();
        element(&[0x4d, 0xbb], &entry)
    };
    let seek_head = |info: usize, tracks: usize| {
        let both = [seek(&INFO, info), seek(&TRACKS, tracks)].concat();
        element(&[0x11, 0x4d, 0x9b, 0x74], &both)
    };
    let cluster = element(&[0x1f, 0x43, 0xb6, 0x75], &element(&[0xe7], &[0]));
    let first = seek_head(0, 0).len() + cluster.len();
    let body = [&seek_head(first, first + info.len()), &cluster, info, tracks].concat();
    [head(), claims(&SEGMENT, (1 << 56) - 2, &body)].concat()
}

/// How long a WebM is, in milliseconds.
pub(super) fn info(duration_ms: Option<f64>) -> Vec<u8> {
    let mut body = element(&[0x2a, 0xd7, 0xb1], &1_000_000_u32.to_be_bytes());
    body.extend(element(&[0x4d, 0x80], b"a muxer"));
    body.extend(element(&[0x57, 0x41], b"a writer"));
    if let Some(ms) = duration_ms {
        body.extend(element(&[0x44, 0x89], &ms.to_be_bytes()));
    }
    element(&INFO, &body)
}

/// A track of sound and one of pictures, which say how they are shown: width, height, unit.
pub(super) fn tracks(width: u16, height: u16, shown: Option<(u16, u16, u8)>) -> Vec<u8> {
    let mut video = element(&[0xb0], &width.to_be_bytes());
    video.extend(element(&[0xba], &height.to_be_bytes()));
    if let Some((width, height, unit)) = shown {
        video.extend(element(&[0x54, 0xb0], &width.to_be_bytes()));
        video.extend(element(&[0x54, 0xba], &height.to_be_bytes()));
        video.extend(element(&[0x54, 0xb2], &[unit]));
    }
    let track = |number: u8, kind: u8, codec: &[u8], more: &[u8]| {
        let number = [element(&[0xd7], &[number]), element(&[0x73, 0xc5], &[number])].concat();
        let rest = [element(&[0x83], &[kind]), element(&[0x86], codec)].concat();
        element(&[0xae], &[&number, &rest, more].concat())
    };
    let sound = track(1, 2, b"A_OPUS", &[]);
    element(&TRACKS, &[sound, track(2, 1, b"V_VP9", &element(&[0xe0], &video))].concat())
}

/// One channel, 16 bits a sample.
pub(super) fn wav(rate: u32, samples: u32) -> Vec<u8> {
    let data = samples * 2;
    let mut bytes = [b"RIFF", &(data + 36).to_le_bytes()[..], b"WAVEfmt ", &[16, 0, 0, 0]].concat();
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2).to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend([&b"data"[..], &data.to_le_bytes()].concat());
    bytes.resize(bytes.len() + data as usize, 0);
    bytes
}

/// 16 bits a sample, two channels.
pub(super) fn flac(rate: u32, samples: u64) -> Vec<u8> {
    let mut bytes = b"fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0".to_vec();
    let described = u64::from(rate) << 44 | 1 << 41 | 15 << 36 | samples;
    bytes.extend(described.to_be_bytes());
    bytes.extend([0; 16]);
    bytes.extend([0xff, 0xf8, 0, 0]);
    bytes
}

/// Frames of MPEG 1, layer 3, 128 kbit/s, 44.1 kHz.
pub(super) fn mp3(frames: usize) -> Vec<u8> {
    let mut frame = vec![0xff, 0xfb, 0x90, 0];
    frame.resize(417, 0);
    frame.repeat(frames)
}

/// Opus in Ogg: two pages of headers, and one whose end is at that sample; 312 are passed over. Nobody here looks at checksums.
pub(super) fn opus(samples: u64) -> Vec<u8> {
    let page = |kind: u8, samples: u64, number: u8, packet: &[u8]| {
        let mut page = [b"OggS\0", &[kind][..], &samples.to_le_bytes(), b"abcd"].concat();
        page.extend([number, 0, 0, 0, 0, 0, 0, 0, 1, u8::try_from(packet.len()).unwrap()]);
        page.extend(packet);
        page
    };
    let head = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0";
    let tags = b"OpusTags\x04\0\0\0test\0\0\0\0";
    [page(2, 0, 0, head), page(0, 0, 1, tags), page(4, samples, 2, &[7; 99])].concat()
}
