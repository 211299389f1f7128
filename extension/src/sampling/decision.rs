//! Whether one invocation is sent, from its header to its end.
//!
//! A header that says `Sampled=0` has two meanings that look the same (LAM-5, LAM-6): a caller, or Lambda's own Active
//! tracing, has decided against the trace, or nobody has decided anything. Whoever decides says yes now and then, so
//! until an environment has seen a yes, a no is nobody's.

use super::keep::Outcome;
use super::{Request, Sampler};
use crate::settings::{Keep, Sampling};
use crate::translate::flush::Mode;
use crate::translate::trace_header::{Sampled, TraceHeader, TraceId};
use std::time::Duration;

/// What holds for every invocation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policy {
    pub(crate) sampling: Sampling,
    pub(crate) keep: Keep,
}

/// What has been decided of one invocation whose header does not say yes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    #[default]
    Open,
    /// It would not be sent, but how it ends may change that.
    ByOutcome,
    Kept,
    Dropped,
}

/// One invocation's way to its verdict.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deciding {
    pub(crate) verdict: Verdict,
    pub(crate) outcome: Outcome,
}

/// What counts when the first span of an invocation is there, or when it has ended without one.
pub(crate) struct Beginning<'a> {
    pub(crate) header: Option<TraceHeader>,
    pub(crate) mode: Mode,
    /// A yes has been seen in this environment.
    pub(crate) somebody_decides: bool,
    /// What an agent has decided, which has told it to those it calls; `None` where there is no agent.
    pub(crate) agent: Option<bool>,
    pub(crate) request: Request<'a>,
    pub(crate) now_s: u64,
}

/// Whether a header leaves the decision to the function.
pub(crate) fn is_left_to_us(
    sampled: Sampled,
    mode: Mode,
    somebody_decides: bool,
    sampling: Sampling,
) -> bool {
    sampling != Sampling::Respect
        && mode != Mode::Active
        && match sampled {
            Sampled::Yes => false,
            Sampled::No => !somebody_decides,
            Sampled::Undecided => true,
        }
}

impl Policy {
    /// Whether an invocation with this header is certain not to be sent, however it goes.
    pub(crate) fn is_hopeless(&self, sampled: Sampled, mode: Mode, somebody_decides: bool) -> bool {
        sampled != Sampled::Yes
            && self.keep.is_nothing()
            && !is_left_to_us(sampled, mode, somebody_decides, self.sampling)
    }
}

impl Deciding {
    /// Decides, where that has not been done, what can be decided at the beginning.
    pub(crate) fn begin(&mut self, policy: &Policy, beginning: &Beginning<'_>, sampler: &mut Sampler) {
        if self.verdict != Verdict::Open {
            return;
        }
        let Some(header) = beginning.header.filter(|header| header.sampled != Sampled::Yes) else { return };
        let trace_id: TraceId = header.root;
        let ours = is_left_to_us(header.sampled, beginning.mode, beginning.somebody_decides, policy.sampling);
        let is_sampled = ours
            && match (policy.sampling, beginning.agent) {
                (Sampling::Respect, _) => false,
                (Sampling::Auto, Some(agents)) => agents,
                (Sampling::Auto, None) => sampler.decide_by_default(trace_id, beginning.now_s),
                (Sampling::Rules, _) => sampler.decide(&beginning.request, trace_id, beginning.now_s),
            };
        self.verdict = if is_sampled || policy.keep.all {
            Verdict::Kept
        } else if policy.keep.is_nothing() {
            Verdict::Dropped
        } else {
            Verdict::ByOutcome
        };
    }

    /// Notes something that has been seen of it.
    pub(crate) fn note(&mut self, failed: bool, is_cold: bool, took: Duration) {
        self.outcome.failed |= failed;
        self.outcome.is_cold |= is_cold;
        self.outcome.took = self.outcome.took.max(took);
    }

    /// The invocation has ended.
    pub(crate) fn end(&mut self, policy: &Policy) {
        if self.verdict == Verdict::ByOutcome {
            self.verdict = if policy.keep.wants(self.outcome) { Verdict::Kept } else { Verdict::Dropped };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a9942727ff";

    #[test]
    fn mode_and_header_and_what_was_seen_say_who_decides() {
        use Mode::{Active, PassThrough, Unknown};
        use Sampled::{No, Undecided, Yes};
        for (sampled, mode, seen, expected) in [
            (No, Unknown, false, true),
            (No, PassThrough, false, true),
            (No, Active, false, false),
            (No, Unknown, true, false),
            (No, PassThrough, true, false),
            (Undecided, Unknown, true, true),
            (Undecided, PassThrough, false, true),
            (Undecided, Active, false, false),
            (Yes, PassThrough, true, false),
        ] {
            for (sampling, expected) in
                [(Sampling::Auto, expected), (Sampling::Rules, expected), (Sampling::Respect, false)]
            {
                let found = is_left_to_us(sampled, mode, seen, sampling);
                assert_eq!(found, expected, "{sampled:?} {mode:?} {seen} {sampling:?}");
            }
        }
    }

    #[test]
    fn rows_2_and_4_verdicts() {
        use Verdict::{Dropped, Kept, Open};
        let keep = |text| Keep::parse(text).unwrap();
        let fine = Outcome::default();
        let failed = Outcome { failed: true, ..fine };
        let (yes, no) = (format!("{ROOT};Sampled=1"), format!("{ROOT};Sampled=0"));
        for (header, agent, setting, outcome, expected) in [
            (&yes, Some(true), "none", failed, Open),
            (&no, Some(true), "none", fine, Kept),
            (&no, Some(false), "none", failed, Dropped),
            (&no, Some(false), "errors", failed, Kept),
            (&no, Some(false), "errors", fine, Dropped),
            (&no, Some(false), "all", fine, Kept),
            (&no, None, "none", fine, Kept),
        ] {
            let policy = Policy { sampling: Sampling::Auto, keep: keep(setting) };
            let mut deciding = Deciding { outcome, ..Deciding::default() };
            let beginning = Beginning {
                header: TraceHeader::parse(header),
                mode: Mode::Unknown,
                somebody_decides: false,
                agent,
                request: Request { service_name: "shop", resource_arn: "arn", attribute: &|_| None },
                now_s: 1,
            };
            deciding.begin(&policy, &beginning, &mut Sampler::default());
            deciding.end(&policy);
            assert_eq!(deciding.verdict, expected, "{header} {agent:?} {setting} {outcome:?}");
        }
    }
}
