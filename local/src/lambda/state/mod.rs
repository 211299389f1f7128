//! What the processes have done so far, and the events that wait for them. Calls of the local APIs and exits of processes
//! change it, the life cycle puts the events in, and each waits until the state shows what it needs.

pub(crate) mod endpoint_tokens;
pub(crate) mod extensions;
pub(crate) mod managed;
pub(crate) mod runtime;

use std::sync::Arc;

use tokio::sync::watch;

use crate::lambda::clock::WallClock;
use crate::lambda::config::Config;
use crate::lambda::event_log::{Event, EventLog, Origin, OutputStream, Phase, ProcessExit};
use crate::lambda::processes::ProcessObserver;
use crate::lambda::processes::memory::Memory;
use crate::lambda::telemetry::{Kind, Telemetry};
use endpoint_tokens::EndpointTokens;
use extensions::Registry;
use managed::ManagedState;
use runtime::RuntimeState;

/// What the present generation of processes has done so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Counts the initialisations: a call of processes that are gone must not take their successors' events.
    pub(crate) generation: u64,
    pub(crate) runtime: RuntimeState,
    /// The runtime's invocations on a managed instance, where `runtime` knows only of its start and its end.
    pub(crate) managed: ManagedState,
    pub(crate) extensions: Registry,
}

/// Lambda's own side, as telemetry calls it: what all of the rooms above share.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) config: Config,
    pub(crate) log: EventLog,
    pub(crate) telemetry: Telemetry,
    pub(crate) memory: Arc<Memory>,
    pub(crate) endpoint_tokens: EndpointTokens,
    pub(crate) clock: WallClock,
    state: watch::Sender<State>,
}

impl Platform {
    pub(crate) fn new(config: Config, endpoint_tokens: EndpointTokens) -> Arc<Self> {
        let (clock, log) = (WallClock::default(), EventLog::new());
        let telemetry = Telemetry::new(config.telemetry, config.telemetry_faults, clock.clone(), log.clone());
        let state = watch::Sender::new(State::default());
        let memory = Arc::new(Memory::new(config.memory_mb));
        Arc::new(Self { config, log, telemetry, memory, endpoint_tokens, clock, state })
    }

    /// Changes the state and wakes everyone who waits for it.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut result = None;
        self.state.send_modify(|state| result = Some(change(state)));
        match result {
            Some(result) => result,
            None => unreachable!("send_modify runs its closure"),
        }
    }

    /// A new generation of processes begins, with these external extensions.
    pub(crate) fn begin_generation(&self, extensions: &[String]) {
        self.update(|state| {
            *state = State {
                generation: state.generation + 1,
                runtime: RuntimeState::default(),
                managed: ManagedState::default(),
                extensions: Registry::new(extensions, self.config.initialization_type.is_managed()),
            };
        });
        self.telemetry.reset();
        self.memory.reset();
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.borrow())
    }

    /// Waits until the state gives an answer.
    pub(crate) async fn wait<R>(&self, mut look: impl FnMut(&State) -> Option<R>) -> R {
        let mut states = self.state.subscribe();
        loop {
            if let Some(result) = look(&states.borrow_and_update()) {
                return result;
            }
            if states.changed().await.is_err() {
                // Unreachable while self, the sender, lives.
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) fn max_memory_used_mb(&self) -> u32 {
        self.memory.peak_mb(self.config.memory_mb)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.log.push(Event::Phase(phase));
    }

    /// A line of the platform in the function's log, such as `START RequestId: …`.
    pub(crate) fn say(&self, line: String) {
        self.log.push(Event::PlatformLine(line));
    }
}

impl ProcessObserver for Platform {
    fn line(&self, origin: &Origin, stream: OutputStream, text: &str) {
        self.log.push(Event::Line { origin: origin.clone(), stream, text: text.to_owned() });
        let kind = if *origin == Origin::Runtime { Kind::Function } else { Kind::Extension };
        self.telemetry.emit(kind, kind.as_str(), &text.into());
    }

    fn exited(&self, origin: &Origin, exit: ProcessExit) {
        let killed = (*origin == Origin::Runtime).then(|| self.memory.note_exit(exit)).flatten();
        if let Some(pid) = killed {
            self.log.push(Event::OutOfMemory { pid, held_bytes: self.memory.limit_bytes });
        }
        self.update(|state| match origin {
            Origin::Runtime => {
                state.runtime.exit = Some(exit);
                state.runtime.out_of_memory = self.memory.runtime_killed();
            }
            Origin::Extension(name) => state.extensions.exited(name, exit),
            Origin::Unknown => {}
        });
    }
}
