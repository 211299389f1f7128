//! The Extensions API: registration, and one turn for each event.
//!
//! Registration and the loop are `lambda-extension`'s. What its loop cannot do is done around it: a clean end
//! after SHUTDOWN, and going on after an event it cannot read (L-1.6: an extension that exits takes the function
//! down with it).

mod lenient;
mod subscribe;

use crate::log::{Level, Log};
use lambda_extension::{Error, Extension, LambdaEvent, NextEvent, RegisteredExtension, Service, service_fn};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What Lambda says of an invocation when it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invoke {
    pub request_id: String,
    /// Epoch milliseconds; 0 when the platform did not say.
    pub deadline_ms: u64,
    pub function_arn: String,
    /// The incoming trace header; the runtime's may have another parent (L-12.3).
    pub trace_header: String,
}

/// The environment is about to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// `spindown`, `timeout`, `failure`, or a word of the emulator's (L-5.8).
    pub reason: String,
    /// Epoch milliseconds at which the process is killed; 0 when the platform did not say.
    pub deadline_ms: u64,
}

/// An event of the Extensions API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Invoke(Invoke),
    Shutdown(Shutdown),
}

/// One event, and the way to say that it has been dealt with. Dropping `finished` says so as well.
#[derive(Debug)]
pub struct Turn {
    pub event: Event,
    pub finished: oneshot::Sender<()>,
}

/// What registration tells about the function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    pub function_name: String,
    pub function_version: String,
    pub account_id: Option<String>,
    /// Each invocation is an event; on Managed Instances none is (L-8.26).
    pub hears_of_invocations: bool,
}

/// The events to register for: Managed Instances refuse INVOKE (L-8.26).
pub fn events_for(initialization_type: Option<&str>) -> &'static [&'static str] {
    if initialization_type == Some("lambda-managed-instances") {
        &["SHUTDOWN"]
    } else {
        &["INVOKE", "SHUTDOWN"]
    }
}

/// Registers, then hands every event to `turns` and asks for the next when it is finished. Returns after SHUTDOWN.
///
/// `registered` is told what registration said, before the first event. Where there is a `telemetry` address, the
/// platform is asked to send its records there.
pub async fn run(
    initialization_type: Option<&str>,
    telemetry: Option<String>,
    registered: oneshot::Sender<Registered>,
    turns: mpsc::Sender<Turn>,
    log: Log,
) {
    let (shut_down, mut is_shut_down) = mpsc::channel::<()>(1);
    let forward = {
        let turns = turns.clone();
        service_fn(move |event: LambdaEvent| {
            let (turns, shut_down) = (turns.clone(), shut_down.clone());
            async move {
                let event = Event::from(event.next);
                let last = matches!(event, Event::Shutdown(_));
                take_turn(&turns, event).await;
                if last {
                    let _ = shut_down.send(()).await;
                    // The loop would ask for another event, and there is none after SHUTDOWN.
                    std::future::pending::<()>().await;
                }
                Ok::<(), Error>(())
            }
        })
    };
    let (extension, events) = register(events_for(initialization_type), forward, &log).await;
    if let Some(uri) = telemetry {
        subscribe::subscribe(&extension.extension_id, uri, log.clone());
    }
    let _ = registered.send(Registered {
        function_name: extension.function_name.clone(),
        function_version: extension.function_version.clone(),
        account_id: extension.account_id.clone(),
        hears_of_invocations: events.contains(&"INVOKE"),
    });
    let extension_id = extension.extension_id.clone();
    let failure = tokio::select! {
        biased;
        _ = is_shut_down.recv() => return,
        ended = extension.run() => ended.err(),
    };
    let cause = failure.map_or_else(|| "it ended".to_owned(), |error| error.to_string());
    log.say(Level::Warn, format_args!("the event loop stopped ({cause}); going on with a simpler one"));
    lenient::run(&extension_id, &turns, &log).await;
}

async fn take_turn(turns: &mpsc::Sender<Turn>, event: Event) {
    let (finished, is_finished) = oneshot::channel();
    if turns.send(Turn { event, finished }).await.is_ok() {
        // An error means that the turn was dropped, which is an end like any other.
        let _ = is_finished.await;
    }
}

/// Registers, and says for which events.
async fn register<'a, S>(
    events: &'a [&'a str],
    service: S,
    log: &Log,
) -> (RegisteredExtension<S>, &'a [&'a str])
where
    S: Service<LambdaEvent, Response = (), Error = Error> + Clone,
{
    let mut events = events;
    let mut pause = Duration::from_millis(20);
    loop {
        let extension = Extension::new().with_events(events).with_events_processor(service.clone());
        match extension.register().await {
            Ok(extension) => return (extension, events),
            Err(error) if error.to_string().contains("403") && events.contains(&"INVOKE") => {
                log.say(Level::Warn, "Lambda refused INVOKE events; registering for SHUTDOWN only");
                events = &["SHUTDOWN"];
            }
            Err(error) => {
                log.once(
                    "register",
                    Level::Error,
                    format_args!("could not register with Lambda, trying again: {error}"),
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

impl From<NextEvent> for Event {
    fn from(event: NextEvent) -> Self {
        match event {
            NextEvent::Invoke(invoke) => Self::Invoke(Invoke {
                request_id: invoke.request_id,
                deadline_ms: invoke.deadline_ms,
                function_arn: invoke.invoked_function_arn,
                trace_header: invoke.tracing.value,
            }),
            NextEvent::Shutdown(shutdown) => Self::Shutdown(Shutdown {
                reason: shutdown.shutdown_reason,
                deadline_ms: shutdown.deadline_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_8_26_managed_instances_register_for_shutdown_only() {
        assert_eq!(events_for(Some("lambda-managed-instances")), ["SHUTDOWN"]);
        assert_eq!(events_for(Some("on-demand")), ["INVOKE", "SHUTDOWN"]);
        assert_eq!(events_for(None), ["INVOKE", "SHUTDOWN"]);
    }
}
