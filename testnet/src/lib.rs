//! Real homes on this machine: for people ([`up`]), for speed ([`mod@bench`]), for faults ([`chaos`]), and for
//! tests ([`homes`]).
//!
//! A test that wants two homes:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use homing_testnet::homes::{Homes, Program};
//!
//! let dir = tempfile::tempdir()?;
//! let mut homes = Homes::make(Program::find(None)?, dir.path(), &["acme.test", "globex.test"], None).await?;
//! homes.start_all().await?;
//! let alice = homes[0].user("alice").await?;
//! homes[1].kill().await?; // kill -9
//! homes[1].start().await?;
//! homes.stop_all().await?;
//! # Ok(())
//! # }
//! ```

pub mod bench;
pub mod chaos;
pub mod guard;
pub mod homes;
pub mod process;
pub mod sim;
pub mod up;
