//! What a setting can say: plain values, for whoever acts on them.

use std::path::PathBuf;
use std::time::Duration;

/// The tracing mode of the function, as far as the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracingMode {
    Auto,
    Active,
    PassThrough,
}

/// When traces leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushStrategy {
    /// At the end of each invocation.
    AtEnd,
    /// Beside the invocations.
    Every(Duration),
    /// One or the other, by how often the function is invoked.
    Adaptive,
}

/// A way out of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutletKind {
    /// `PutTraceSegments`.
    Xray,
    /// An X-Ray daemon, over UDP.
    Daemon,
    /// OTLP over HTTP.
    Otlp,
}

impl OutletKind {
    const ALL: [Self; 3] = [Self::Xray, Self::Daemon, Self::Otlp];

    /// The one of this name, whatever its case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// The name in settings and accounts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xray => "xray",
            Self::Daemon => "daemon",
            Self::Otlp => "otlp",
        }
    }
}

/// Who decides where nobody has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sampling {
    /// X-Ray's default rule: one request a second, then 5 %.
    #[default]
    Auto,
    /// Nobody: the header is taken as it is.
    Respect,
    /// The account's sampling rules.
    Rules,
}

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
}

/// The directory, and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    pub directory: PathBuf,
    /// All files together.
    pub limit_bytes: u64,
    /// Older files are not sent any more.
    pub max_age: Duration,
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
}
