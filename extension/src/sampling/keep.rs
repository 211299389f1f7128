//! Which invocations are sent though nobody has sampled them.

use std::time::Duration;

/// Asked for by a setting, any of them together (xray.md section 15, row 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    pub all: bool,
    /// Those that fail, time out or answer with a server error, or in which a call does.
    pub errors: bool,
    /// The first of each environment.
    pub cold: bool,
    /// Those that take at least so long.
    pub slow: Option<Duration>,
}

/// How an invocation has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) is_cold: bool,
    pub(crate) took: Duration,
}

impl Keep {
    /// Reads `none`, or any of `errors`, `slow:<ms>` (1 to 900000), `cold` and `all`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut keep = Self::default();
        let text = text.to_ascii_lowercase();
        if text == "none" {
            return Some(keep);
        }
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item {
                "all" => keep.all = true,
                "errors" => keep.errors = true,
                "cold" => keep.cold = true,
                slow => {
                    let ms = slow.strip_prefix("slow:")?.trim().parse().ok()?;
                    keep.slow = (1..=900_000).contains(&ms).then(|| Duration::from_millis(ms));
                    keep.slow?;
                }
            }
        }
        (keep != Self::default()).then_some(keep)
    }

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
    fn what_the_setting_can_say() {
        let slow = |ms| Some(Duration::from_millis(ms));
        for (text, expected) in [
            ("none", Some(Keep::default())),
            ("Errors", Some(Keep { errors: true, ..Keep::default() })),
            (" cold, slow:1500 ,", Some(Keep { cold: true, slow: slow(1500), ..Keep::default() })),
            ("errors,all", Some(Keep { errors: true, all: true, ..Keep::default() })),
            ("errors,none", None),
            ("slow", None),
            ("slow:", None),
            ("slow:0", None),
            ("slow:-1", None),
            ("slow:900001", None),
            (",", None),
            ("warm", None),
        ] {
            assert_eq!(Keep::parse(text), expected, "{text}");
        }
    }

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
