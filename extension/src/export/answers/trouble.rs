//! What goes wrong between here and X-Ray, counted as `PutTelemetryRecords` wants it (xray.md section 6).

use crate::shown;
use std::error::Error;
use std::io;

const MAX_TOLD: usize = 300;

/// One failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Timeout,
    ConnectionRefused,
    UnknownHost,
    Status4xx,
    Status5xx,
    Other,
}

/// Counts of failed tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Troubles {
    pub(crate) timeout: u32,
    pub(crate) connection_refused: u32,
    pub(crate) unknown_host: u32,
    pub(crate) status_4xx: u32,
    pub(crate) status_5xx: u32,
    pub(crate) other: u32,
}

/// An error and what is behind it, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let source = |error: &&'a (dyn Error + 'static)| (*error).source();
    std::iter::successors(Some(error), source)
}

/// An error and its causes in one line that the log can have.
pub(crate) fn told(error: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = causes(error).map(ToString::to_string).collect();
    // Some say again what is behind them.
    told.dedup_by(|behind, before| before.contains(behind.as_str()));
    shown::line(&told.join(": ")).chars().take(MAX_TOLD).collect()
}

impl Trouble {
    /// By the status of an answer.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            400..=499 => Self::Status4xx,
            500..=599 => Self::Status5xx,
            _ => Self::Other,
        }
    }

    /// By the causes of an error without an answer.
    pub(crate) fn of_error(error: &(dyn Error + 'static)) -> Self {
        for cause in causes(error) {
            // The connector has no type for this one, only these words.
            if cause.to_string() == "dns error" {
                return Self::UnknownHost;
            }
            match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::TimedOut) => return Self::Timeout,
                Some(io::ErrorKind::ConnectionRefused) => return Self::ConnectionRefused,
                _ => {}
            }
        }
        Self::Other
    }
}

impl Troubles {
    pub(crate) fn count(&mut self, trouble: Trouble) {
        let counter = match trouble {
            Trouble::Timeout => &mut self.timeout,
            Trouble::ConnectionRefused => &mut self.connection_refused,
            Trouble::UnknownHost => &mut self.unknown_host,
            Trouble::Status4xx => &mut self.status_4xx,
            Trouble::Status5xx => &mut self.status_5xx,
            Trouble::Other => &mut self.other,
        };
        *counter = counter.saturating_add(1);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.timeout = self.timeout.saturating_add(other.timeout);
        self.connection_refused = self.connection_refused.saturating_add(other.connection_refused);
        self.unknown_host = self.unknown_host.saturating_add(other.unknown_host);
        self.status_4xx = self.status_4xx.saturating_add(other.status_4xx);
        self.status_5xx = self.status_5xx.saturating_add(other.status_5xx);
        self.other = self.other.saturating_add(other.other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Connect(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn section_6_every_failed_try_has_its_counter() {
        let of = |kind: io::ErrorKind| Trouble::of_error(&Connect(Box::new(io::Error::from(kind))));
        assert_eq!(of(io::ErrorKind::TimedOut), Trouble::Timeout);
        assert_eq!(of(io::ErrorKind::ConnectionRefused), Trouble::ConnectionRefused);
        assert_eq!(of(io::ErrorKind::ConnectionReset), Trouble::Other);
        assert_eq!(Trouble::of_error(&Connect("dns error".into())), Trouble::UnknownHost);
        assert_eq!(
            [403, 429, 500, 302].map(Trouble::of_status),
            [Trouble::Status4xx, Trouble::Status4xx, Trouble::Status5xx, Trouble::Other]
        );
    }
}
