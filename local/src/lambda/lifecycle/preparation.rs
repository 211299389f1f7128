//! The initialisation or the restore that an invocation is the first after.

use std::time::{Duration, SystemTime};

use super::restore::Restore;

/// What had to happen before the invocation and was not reported with an earlier one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Preparation {
    None,
    Init((SystemTime, SystemTime)),
    Restore(Restore),
}

impl Preparation {
    pub(crate) fn init_duration(&self) -> Option<Duration> {
        match self {
            Self::Init((begin, end)) => Some(end.duration_since(*begin).unwrap_or_default()),
            _ => None,
        }
    }

    pub(crate) fn restore_duration(&self) -> Option<Duration> {
        if let Self::Restore(restore) = self { Some(restore.duration) } else { None }
    }

    /// Name, begin and end, as Lambda's own segment has it.
    pub(crate) fn times(&self) -> Option<(&'static str, SystemTime, SystemTime)> {
        match self {
            Self::None => None,
            Self::Init((begin, end)) => Some(("Init", *begin, *end)),
            Self::Restore(Restore { begin, duration }) => Some(("Restore", *begin, *begin + *duration)),
        }
    }
}
