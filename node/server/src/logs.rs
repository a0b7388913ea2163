//! The log, on standard error: for people or, as JSON, for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Format, Level, Log};

/// Changes the level of a running log.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// From now on.
    pub fn set(&self, level: Level) {
        // Fails only when the log itself is gone: then nobody is left to be told.
        let _nobody = self.0.reload(filter(level));
    }
}

/// Starts the log of this process. `None` where one has been started before.
pub fn start(log: &Log) -> Option<LogLevel> {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        // Colours are for people at a terminal, not for files.
        Format::Text => registry
            .with(
                fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        Format::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init(),
    };
    started.ok().map(|()| LogLevel(handle))
}

/// Ours at `level`; what the libraries say one or two steps quieter, since they talk much.
fn filter(level: Level) -> EnvFilter {
    let libraries = match level {
        Level::Error => "error",
        Level::Warn | Level::Info => "warn",
        Level::Debug => "info",
        Level::Trace => "debug",
    };
    // libp2p's gossip logs what peers do wrong as warnings and errors: any home could fill the log. The network counts it.
    let gossip = match level {
        Level::Error | Level::Warn | Level::Info => "off",
        Level::Debug | Level::Trace => libraries,
    };
    EnvFilter::new(format!("{libraries},libp2p_gossipsub={gossip},homing={}", level.word()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            let text = filter(level).to_string();
            assert!(text.contains(&format!("homing={}", level.word())), "{text}");
        }
        assert!(filter(Level::Info).to_string().contains("warn"));
        assert!(filter(Level::Info).to_string().contains("libp2p_gossipsub=off"));
    }
}
