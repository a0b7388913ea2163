//! What happens in a case.

use proptest::prelude::*;

/// Two users, each with two devices: alice's are 0 and 1, bob's, at another home, 2 and 3.
pub(super) const DEVICES: usize = 4;

/// One thing that happens. `group`: in the group of both, not in their chat.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// A device sends a text, and perhaps asks twice.
    Send { device: usize, group: bool, mention: bool, twice: bool },
    /// A device has shown all but so many of the latest places, or stored them.
    Mark { device: usize, group: bool, less: u64, read: bool },
    /// A device edits, deletes or reacts to the so-many-th of the latest messages that it knows, or tries to.
    Amend { device: usize, group: bool, back: usize, what: u8 },
    /// A user takes one of the latest messages out of his own lists.
    Hide { device: usize, group: bool, back: usize },
    /// A user changes how he alone sees a conversation.
    View { device: usize, group: bool, what: u8 },
    /// A user blocks the other, or ends that.
    Block { device: usize, on: bool },
    /// A device takes in what has come.
    Listen { device: usize },
    /// A device loses its socket with a frame from now on, and stays away until it does something.
    Lose { device: usize, frames: u32, taken: bool },
    /// A home's process is killed, or stopped in order, and started again.
    Restart { home: usize, killed: bool },
}

/// Any deed. Restarts are few: each takes a second, and meets all cases that are under way.
pub(super) fn deed() -> impl Strategy<Value = Deed> {
    let device = 0..DEVICES;
    let flag = any::<bool>;
    prop_oneof![
        240 => (device.clone(), flag(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(device, group, mention, twice)| Deed::Send { device, group, mention, twice }),
        160 => (device.clone(), flag(), prop_oneof![Just(0), 0_u64..6, 0_u64..40], prop::bool::weighted(0.7))
            .prop_map(|(device, group, less, read)| Deed::Mark { device, group, less, read }),
        160 => (device.clone(), flag(), prop_oneof![0_usize..4, 0_usize..40], any::<u8>())
            .prop_map(|(device, group, back, what)| Deed::Amend { device, group, back, what }),
        24 => (device.clone(), flag(), 0_usize..10)
            .prop_map(|(device, group, back)| Deed::Hide { device, group, back }),
        48 => (device.clone(), flag(), any::<u8>())
            .prop_map(|(device, group, what)| Deed::View { device, group, what }),
        24 => (device.clone(), prop::bool::weighted(0.4)).prop_map(|(device, on)| Deed::Block { device, on }),
        120 => device.clone().prop_map(|device| Deed::Listen { device }),
        96 => (device, 1_u32..30, flag())
            .prop_map(|(device, frames, taken)| Deed::Lose { device, frames, taken }),
        1 => (0_usize..2, flag()).prop_map(|(home, killed)| Deed::Restart { home, killed }),
    ]
}
