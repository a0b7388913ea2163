//! How a roster becomes the next one. Pure: what may be changed by whom is decided elsewhere ([`crate::groups`]).

use homing_wire::limits::{ROSTER_POLICIES, ROSTER_TENURES};
use homing_wire::{
    ChainPos, ChannelId, Epoch, Fence, Hash, HomeId, MediaReference, Policy, PolicySpan, Right,
    Role, Roster, Seq, Tenure, UserRef,
};

/// One change of a roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Edit {
    /// A user is now that; `None`: nothing any more.
    Role {
        /// Who.
        user: UserRef,
        /// What.
        role: Option<Role>,
        /// What the user's own home says the user has written; `None`: as the owner home holds it.
        fence: Option<Fence>,
    },
    /// The group is called that.
    Name(String),
    /// That stands for it; `None`: nothing.
    Avatar(Option<MediaReference>),
    /// That is the policy.
    Policy(Policy),
}

/// The roster has no room for another change: what its members were must be kept, to judge old events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WornOut;

/// The first roster of a group, with nobody in it yet.
pub(crate) fn first(
    group: ChannelId,
    owner: HomeId,
    epoch: Epoch,
    at: u64,
    name: String,
    policy: Policy,
    continues: Option<ChannelId>,
) -> Roster {
    Roster {
        group,
        owner,
        epoch,
        version: epoch.0,
        at,
        prev: Hash::NONE,
        name,
        policies: vec![PolicySpan { from: epoch.0, policy, fences: Vec::new() }],
        tenures: Vec::new(),
        continues,
        avatar: None,
    }
}

/// The next roster: all edits in one version. `by`: who makes them. `written`: what a home has written in the group, as
/// this home holds it.
pub(crate) fn amend(
    old: &Roster,
    epoch: Epoch,
    at: u64,
    by: &UserRef,
    edits: &[Edit],
    written: impl Fn(&HomeId) -> Fence,
) -> Result<Roster, WornOut> {
    let version = (old.version + 1).max(epoch.0);
    let mut new = Roster { epoch, version, at, prev: old.hash(), ..old.clone() };
    for edit in edits {
        match edit {
            Edit::Name(name) => new.name.clone_from(name),
            Edit::Avatar(avatar) => new.avatar.clone_from(avatar),
            Edit::Policy(policy) => set_policy(&mut new, *policy, &written),
            Edit::Role { user, role, fence } => {
                let fence = fence.clone().unwrap_or_else(|| written(&user.home));
                set_role(&mut new, user, *role, by, fence);
            }
        }
    }
    fence_losses(old, &mut new, &written);
    let fits = new.tenures.len() <= ROSTER_TENURES && new.policies.len() <= ROSTER_POLICIES;
    if fits { Ok(new) } else { Err(WornOut) }
}

fn set_policy(roster: &mut Roster, policy: Policy, written: &impl Fn(&HomeId) -> Fence) {
    let version = roster.version;
    let old = roster.policy();
    if old == policy {
        return;
    }
    // Whoever writes on under the old one does so only up to here.
    let loses = |t: &&Tenure| old.write.includes(t.role) && !policy.write.includes(t.role);
    let mut homes: Vec<HomeId> = roster.present().filter(loses).map(|t| t.user.home).collect();
    homes.sort_unstable();
    homes.dedup();
    let fences = homes.into_iter().map(|home| (home, written(&home))).collect();
    roster.policies.retain(|span| span.from < version);
    roster.policies.push(PolicySpan { from: version, policy, fences });
}

fn set_role(roster: &mut Roster, user: &UserRef, role: Option<Role>, by: &UserRef, fence: Fence) {
    let version = roster.version;
    let now = roster.role(user);
    if now == role {
        return;
    }
    // Two edits of one version are one.
    roster.tenures.retain(|t| t.user != *user || t.from < version);
    for tenure in roster.tenures.iter_mut().filter(|t| t.user == *user && t.until.is_none()) {
        tenure.until = Some(version);
        tenure.fence = Some(fence.clone());
    }
    if let Some(role) = role {
        let (user, by) = (user.clone(), by.clone());
        roster.tenures.push(Tenure { user, role, from: version, until: None, fence: None, by });
    }
}

/// Fences stand only where a right was lost: a promotion has none.
fn fence_losses(old: &Roster, new: &mut Roster, written: &impl Fn(&HomeId) -> Fence) {
    let version = new.version;
    let first = ChainPos { epoch: Epoch(0), seq: Seq(0) };
    let lost = |user: &UserRef, roster: &Roster| {
        [Right::Write, Right::Moderate].into_iter().any(|right| {
            old.may(user, right, old.version, first).is_ok()
                && roster.may(user, right, version, first).is_err()
        })
    };
    let ended: Vec<(usize, bool)> = new
        .tenures
        .iter()
        .enumerate()
        .filter(|(_, t)| t.until == Some(version))
        .map(|(place, t)| (place, lost(&t.user, new)))
        .collect();
    for (place, lost) in ended {
        let tenure = &mut new.tenures[place];
        if lost {
            let home = tenure.user.home;
            tenure.fence.get_or_insert_with(|| written(&home));
        } else {
            tenure.fence = None;
        }
    }
}
