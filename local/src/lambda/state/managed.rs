//! The runtime of a managed instance: several invocations at once, each told apart by its id (L-4.3). No input or
//! output.

use std::collections::{BTreeMap, VecDeque};

use super::runtime::{PendingInvocation, Refusal, RuntimeAnswer, checked};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Running,
    Answered(RuntimeAnswer),
    /// The caller was told of a timeout; the code runs on (L-8.28).
    TimedOut,
}

/// Invocations that wait for a `next`, and those that are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct ManagedState {
    waiting: VecDeque<PendingInvocation>,
    under_way: BTreeMap<String, Stage>,
}

impl ManagedState {
    pub(crate) fn release(&mut self, invocation: PendingInvocation) {
        self.under_way.insert(invocation.request_id.clone(), Stage::Running);
        self.waiting.push_back(invocation);
    }

    pub(crate) fn has_event(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn take_event(&mut self) -> Option<PendingInvocation> {
        self.waiting.pop_front()
    }

    /// `response` and `error`. What comes after the timeout is refused, and then the code is done.
    pub(crate) fn answer(&mut self, request_id: &str, answer: RuntimeAnswer) -> Result<(), Refusal> {
        match self.under_way.get(request_id) {
            None => Err(Refusal::InvalidRequestId),
            Some(Stage::Answered(_)) => Err(Refusal::InvalidStateTransition),
            Some(Stage::TimedOut) => {
                self.under_way.remove(request_id);
                Err(Refusal::InvokeTimeout)
            }
            Some(Stage::Running) => {
                let (answer, verdict) = checked(answer);
                self.under_way.insert(request_id.to_owned(), Stage::Answered(answer));
                verdict
            }
        }
    }

    pub(crate) fn has_answer(&self, request_id: &str) -> bool {
        matches!(self.under_way.get(request_id), Some(Stage::Answered(_)))
    }

    /// Ends an invocation that was answered.
    pub(crate) fn take_answer(&mut self, request_id: &str) -> Option<RuntimeAnswer> {
        match self.under_way.remove(request_id)? {
            Stage::Answered(answer) => Some(answer),
            other => {
                self.under_way.insert(request_id.to_owned(), other);
                None
            }
        }
    }

    /// Ends an invocation for its caller. One that no `next` has taken is not begun any more.
    pub(crate) fn time_out(&mut self, request_id: &str) {
        let taken = !self.waiting.iter().any(|pending| pending.request_id == request_id);
        self.waiting.retain(|pending| pending.request_id != request_id);
        if taken {
            self.under_way.insert(request_id.to_owned(), Stage::TimedOut);
        } else {
            self.under_way.remove(request_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use bytes::Bytes;

    use super::*;
    use crate::lambda::state::runtime::{RESPONSE_LIMIT_BYTES, RuntimeResult};

    fn pending(id: &str) -> PendingInvocation {
        PendingInvocation {
            request_id: id.to_owned(),
            event: Bytes::new(),
            deadline_ms: 0,
            function_arn: String::new(),
            trace_header: String::new(),
        }
    }

    fn answer(size: usize) -> RuntimeAnswer {
        RuntimeAnswer {
            result: RuntimeResult::Response(vec![b'x'; size].into()),
            at: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    #[test]
    fn l_4_3_answers_come_in_any_order() {
        let mut state = ManagedState::default();
        state.release(pending("one"));
        state.release(pending("two"));
        assert_eq!(state.take_event().map(|event| event.request_id).as_deref(), Some("one"));
        assert_eq!(state.take_event().map(|event| event.request_id).as_deref(), Some("two"));
        assert!(!state.has_event());
        assert_eq!(state.answer("two", answer(1)), Ok(()));
        assert_eq!(state.answer("two", answer(1)), Err(Refusal::InvalidStateTransition));
        assert_eq!(state.answer("three", answer(1)), Err(Refusal::InvalidRequestId));
        assert!(state.has_answer("two") && !state.has_answer("one"));
        assert!(state.take_answer("one").is_none(), "not answered yet");
        assert!(state.take_answer("two").is_some());
        assert_eq!(state.answer("two", answer(1)), Err(Refusal::InvalidRequestId));
        assert_eq!(
            state.answer("one", answer(RESPONSE_LIMIT_BYTES + 1)),
            Err(Refusal::RequestEntityTooLarge)
        );
        assert!(state.take_answer("one").is_some(), "the caller hears of it");
    }

    #[test]
    fn l_8_28_an_answer_after_the_timeout_is_refused_once() {
        let mut state = ManagedState::default();
        state.release(pending("one"));
        state.take_event();
        state.time_out("one");
        assert_eq!(state.answer("one", answer(1)), Err(Refusal::InvokeTimeout));
        assert_eq!(state.answer("one", answer(1)), Err(Refusal::InvalidRequestId));
        state.release(pending("two"));
        state.time_out("two");
        assert!(!state.has_event(), "never begun");
        assert_eq!(state.answer("two", answer(1)), Err(Refusal::InvalidRequestId));
    }
}
