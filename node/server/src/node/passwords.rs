//! Passwords are checked and hashed a few at a time, some more wait, and failures are counted: for signing in, and
//! for what asks for the password again.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use hashlink::LruCache;
use homing_link::{Code, Refused};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::link::stopping;

/// What is kept to.
#[derive(Clone, Debug)]
pub(super) struct PasswordLimits {
    /// Passwords hashed at the same time: each takes a core and 19 MiB.
    pub workers: usize,
    /// Passwords that wait to be hashed.
    pub waiting: usize,
    /// Failures a minute for an account.
    pub failures_per_account: u32,
    /// Failures a minute from an address (IPv6: from a /64).
    pub failures_per_address: u32,
    /// Accounts and addresses whose failures are counted; the least recently seen are forgotten.
    pub failures_kept: usize,
}

/// See the module.
pub(super) struct Passwords {
    limits: PasswordLimits,
    workers: Semaphore,
    queue: Semaphore,
    failures: Mutex<Failures>,
}

/// Failures of the last minute.
struct Failures {
    accounts: LruCache<String, Window>,
    addresses: LruCache<IpAddr, Window>,
}

/// A count that starts anew every minute.
#[derive(Clone, Copy)]
struct Window {
    since: Instant,
    count: u32,
}

const MINUTE: Duration = Duration::from_secs(60);
/// Characters of a name that is counted: whatever was typed, it is bounded.
const NAME: usize = 128;

impl Passwords {
    /// Nothing is under way, and nobody has failed.
    pub(super) fn new(limits: PasswordLimits) -> Self {
        let workers = NonZeroUsize::new(limits.workers).map_or(1, NonZeroUsize::get);
        Self {
            workers: Semaphore::new(workers),
            queue: Semaphore::new(workers + limits.waiting),
            failures: Mutex::new(Failures {
                accounts: LruCache::new(limits.failures_kept),
                addresses: LruCache::new(limits.failures_kept),
            }),
            limits,
        }
    }

    /// Runs a password function on the blocking pool. Refused where too many wait already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let busy = || {
            Refused::new(Code::Busy, "sign_ins_busy", "too many people sign in right now")
                .with_retry_after_ms(2_000)
        };
        let _place = self.queue.try_acquire().map_err(|_| busy())?;
        let _worker = self.workers.acquire().await.map_err(|_| stopping())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| stopping())
    }

    /// Refuses who has failed too often within a minute.
    pub(super) fn check_failures(&self, name: &str, from: IpAddr) -> Result<(), Refused> {
        let mut failures = self.failures.lock();
        let over = [
            failures.accounts.get(name).copied().map(|w| (w, self.limits.failures_per_account)),
            failures
                .addresses
                .get(&network(from))
                .copied()
                .map(|w| (w, self.limits.failures_per_address)),
        ];
        for (window, most) in over.into_iter().flatten() {
            let age = window.since.elapsed();
            if window.count >= most && age < MINUTE {
                let wait = u64::try_from((MINUTE - age).as_millis()).unwrap_or(60_000);
                return Err(Refused::new(
                    Code::Busy,
                    "too_many_attempts",
                    "too many failed attempts: wait a minute",
                )
                .with_retry_after_ms(wait));
            }
        }
        Ok(())
    }

    /// A password was wrong.
    pub(super) fn note_failure(&self, name: &str, from: IpAddr) {
        let mut failures = self.failures.lock();
        let count = |window: Option<&Window>| match window {
            Some(w) if w.since.elapsed() < MINUTE => Window { count: w.count + 1, ..*w },
            Some(_) | None => Window { since: Instant::now(), count: 1 },
        };
        let account = count(failures.accounts.get(name));
        failures.accounts.insert(name.chars().take(NAME).collect(), account);
        let address = count(failures.addresses.get(&network(from)));
        failures.addresses.insert(network(from), address);
    }
}

/// Whom a failure counts against: an IPv6 customer has a whole /64.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
