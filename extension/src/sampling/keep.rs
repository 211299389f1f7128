//! Which invocations are sent though nobody has sampled them.

use crate::settings::Keep;
use std::time::Duration;

/// How an invocation has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) is_cold: bool,
    pub(crate) took: Duration,
}

impl Keep {
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an invocation that has ended this way is sent.
    pub(crate) fn wants(&self, outcome: Outcome) -> bool {
        self.all
            || self.errors && outcome.failed
            || self.cold && outcome.is_cold
            || self.slow.is_some_and(|slow| outcome.took >= slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_4_each_reason_keeps_by_itself() {
        let fine = Outcome { took: Duration::from_millis(99), ..Outcome::default() };
        let failed = Outcome { failed: true, ..fine };
        let cold = Outcome { is_cold: true, ..fine };
        let slow = Outcome { took: Duration::from_millis(100), ..fine };
        for (text, expected) in [
            ("none", [false; 4]),
            ("errors", [false, true, false, false]),
            ("cold", [false, false, true, false]),
            ("slow:100", [false, false, false, true]),
            ("slow:100,errors", [false, true, false, true]),
            ("all", [true; 4]),
        ] {
            let keep = Keep::parse(text).unwrap();
            assert_eq!([fine, failed, cold, slow].map(|outcome| keep.wants(outcome)), expected, "{text}");
        }
    }
}
