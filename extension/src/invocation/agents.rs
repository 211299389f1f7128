//! The agents that are connected, and which invocations their handlers are in.

use super::origin::origin_of_agent;
use super::trace_header::TraceId;
use super::{Collected, Origin};
use crate::received::Connection;
use crate::received::Hello;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::HashMap;
use std::sync::Arc;

/// Invocations of one process at once, of which more than one happens on Managed Instances only.
const MAX_RUNNING: usize = 256;

/// One connected process.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) origin: Arc<Origin>,
    /// Oldest first.
    pub(super) running: Vec<Running>,
    /// Its handler has run at least once.
    pub(super) has_entered: bool,
    /// It has said why the function could not be loaded.
    pub(super) has_told_failed_load: bool,
    pub(super) since_unix_nano: u64,
}

/// An invocation that a handler is in.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) request_id: Arc<str>,
    trace_id: Option<TraceId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Agents {
    connected: HashMap<Connection, Agent>,
}

impl Agents {
    pub(super) fn connect(&mut self, connection: Connection, hello: &Hello, now_unix_nano: u64) {
        let agent = Agent {
            origin: Arc::new(origin_of_agent(hello)),
            running: Vec::new(),
            has_entered: false,
            has_told_failed_load: false,
            since_unix_nano: now_unix_nano,
        };
        self.connected.insert(connection, agent);
    }

    pub(super) fn disconnect(&mut self, connection: Connection) -> Option<Agent> {
        self.connected.remove(&connection)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connected.is_empty()
    }

    /// A handler begins.
    pub(super) fn enter(&mut self, connection: Connection, request_id: &str, trace_id: Option<TraceId>) {
        if let Some(agent) = self.connected.get_mut(&connection) {
            agent.has_entered = true;
            agent.running.retain(|running| &*running.request_id != request_id);
            if agent.running.len() == MAX_RUNNING {
                agent.running.remove(0);
            }
            agent.running.push(Running { request_id: request_id.into(), trace_id });
        }
    }

    /// A handler has ended.
    pub(super) fn leave(&mut self, connection: Connection, request_id: &str) {
        if let Some(agent) = self.connected.get_mut(&connection) {
            agent.running.retain(|running| &*running.request_id != request_id);
        }
    }

    /// Whether some process is in this invocation.
    pub(super) fn run(&self, request_id: &str) -> bool {
        self.connected
            .values()
            .any(|agent| agent.running.iter().any(|running| &*running.request_id == request_id))
    }

    /// Whether no handler has run yet: what it writes is of the initialisation.
    pub(super) fn is_loading(&self, connection: Connection) -> bool {
        self.connected.get(&connection).is_some_and(|agent| !agent.has_entered)
    }

    /// It has said why the function could not be loaded.
    pub(super) fn note_failed_load(&mut self, connection: Connection) {
        if let Some(agent) = self.connected.get_mut(&connection) {
            agent.has_told_failed_load = true;
        }
    }

    /// A span with what is known of where it came from: of several invocations of one process it belongs to the one
    /// with its trace, else to the newest.
    pub(super) fn collected(&self, connection: Connection, span: Box<Span>) -> Collected {
        let Some(agent) = self.connected.get(&connection) else {
            return Collected { span, origin: Arc::default(), request_id: None };
        };
        let trace_id = TraceId::from_bytes(&span.trace_id);
        let has_its_trace = |running: &&Running| trace_id.is_some() && running.trace_id == trace_id;
        let running = agent.running.iter().rev().find(has_its_trace).or(agent.running.last());
        Collected {
            span,
            origin: Arc::clone(&agent.origin),
            request_id: running.map(|running| Arc::clone(&running.request_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_4_spans_of_one_process_are_told_apart_by_their_traces() {
        let trace = |byte: u8| TraceId::from_bytes(&[byte; 16]);
        let mut agents = Agents::default();
        agents.connect(Connection(0), &Hello::default(), 0);
        agents.enter(Connection(0), "a", trace(1));
        agents.enter(Connection(0), "b", trace(2));
        let belongs = |agents: &Agents, byte: u8| {
            let span = Box::new(Span { trace_id: vec![byte; 16], ..Span::default() });
            agents.collected(Connection(0), span).request_id.map(|id| id.to_string())
        };
        assert_eq!(belongs(&agents, 1).as_deref(), Some("a"));
        assert_eq!(belongs(&agents, 2).as_deref(), Some("b"));
        assert_eq!(belongs(&agents, 3).as_deref(), Some("b"), "the newest");
        agents.leave(Connection(0), "b");
        assert_eq!(belongs(&agents, 3).as_deref(), Some("a"));
        assert!(agents.run("a") && !agents.run("b"));
    }

    #[test]
    fn what_one_process_runs_is_bounded() {
        let mut agents = Agents::default();
        agents.connect(Connection(0), &Hello::default(), 0);
        for number in 0..1000 {
            agents.enter(Connection(0), &number.to_string(), None);
        }
        let agent = agents.disconnect(Connection(0)).unwrap();
        assert_eq!(agent.running.len(), MAX_RUNNING);
        assert_eq!(&*agent.running[MAX_RUNNING - 1].request_id, "999");
    }
}
