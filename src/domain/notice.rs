//! What operators can be told of without looking: the kinds of notices that a notification target asks for.

use std::fmt;
use std::str::FromStr;

use super::event::Level;

/// A kind of notice; the names are a contract with configurations and with receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// A host became ready.
    HostReady,
    /// A host failed, with the reason and what its boots tell.
    HostFailed,
    /// A rebuild waits for somebody's hands: the machine has to be turned on.
    HostWaiting,
    /// Work on a guest failed.
    GuestFailed,
    /// The doctor found something that fails now.
    HealthError,
    /// A machine was heard that nobody registered.
    SightingNew,
    /// The operator tries a target.
    Test,
}

impl NoticeKind {
    /// Those that a target can ask for.
    pub const ALL: [Self; 6] = [
        Self::HostReady,
        Self::HostFailed,
        Self::HostWaiting,
        Self::GuestFailed,
        Self::HealthError,
        Self::SightingNew,
    ];

    /// Those that a target gets which names none: new machines are told only to who asks for them.
    pub const USUAL: [Self; 5] = [
        Self::HostReady,
        Self::HostFailed,
        Self::HostWaiting,
        Self::GuestFailed,
        Self::HealthError,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostReady => "host.ready",
            Self::HostFailed => "host.failed",
            Self::HostWaiting => "host.waiting",
            Self::GuestFailed => "guest.failed",
            Self::HealthError => "health.error",
            Self::SightingNew => "sighting.new",
            Self::Test => "test",
        }
    }

    /// How much attention it wants.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::HostReady | Self::SightingNew | Self::Test => Level::Info,
            Self::HostWaiting => Level::Warn,
            Self::HostFailed | Self::GuestFailed | Self::HealthError => Level::Error,
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No kind of notice has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such event")]
pub struct UnknownNotice;

impl FromStr for NoticeKind {
    type Err = UnknownNotice;

    fn from_str(text: &str) -> Result<Self, UnknownNotice> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownNotice)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_kind_that_can_be_asked_for_is_found_by_its_name() {
        for kind in NoticeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("test".parse::<NoticeKind>().is_err(), "nobody asks for tests");
        assert!(NoticeKind::USUAL.iter().all(|kind| NoticeKind::ALL.contains(kind)));
    }
}
