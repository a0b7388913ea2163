//! Shapes that older programs wrote, and what became of them.

mod accounts;
mod channels;
mod media;
mod peers;

pub(super) use self::accounts::{AccountV1, AccountV2, AccountV3, AccountV4, DeviceV1, OpDoneV1};
pub(super) use self::channels::{
    ChannelStateV1, ChannelStateV2, ChannelStateV3, ChannelStateV4, ChannelStateV5,
};
pub(super) use self::media::MediaStateV1;
pub(super) use self::peers::{PeerStateV1, PeerStateV2, PeerStateV3};
