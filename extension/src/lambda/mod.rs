//! The Extensions API: registration, and one turn for each event.
//!
//! The events are `lambda-extension`'s. Registration and the loop are our own: an extension that exits takes the function
//! down with it (L-1.6), so it goes on after an event that it cannot read, and ends cleanly after SHUTDOWN.

mod api;
mod event;
mod subscribe;

pub use event::{Event, Invoke, Shutdown};

use crate::log::{Level, Log};
use api::{Api, Registration};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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

/// Where the platform is, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Platform {
    /// `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    /// `AWS_LAMBDA_INITIALIZATION_TYPE`.
    pub initialization_type: Option<String>,
    /// Where the platform is asked to send its records.
    pub telemetry: Option<String>,
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
/// `registered` is told what registration said, before the first event.
pub async fn run(
    platform: Platform,
    registered: oneshot::Sender<Registered>,
    turns: mpsc::Sender<Turn>,
    log: Log,
) {
    let mut api = Api::new(platform.address);
    let events = events_for(platform.initialization_type.as_deref());
    let (Registration { extension_id, body }, events) = register(&mut api, events, &log).await;
    if let Some(uri) = platform.telemetry {
        subscribe::subscribe(&mut api, &extension_id, &uri, &log).await;
    }
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let _ = registered.send(Registered {
        function_name: text("functionName").unwrap_or_default(),
        function_version: text("functionVersion").unwrap_or_default(),
        account_id: text("accountId"),
        hears_of_invocations: events.contains(&"INVOKE"),
    });
    let mut pause = FIRST_PAUSE;
    loop {
        match api.next(&extension_id).await {
            Ok(body) => {
                pause = FIRST_PAUSE;
                let Some(event) = Event::parse(&body) else {
                    log.once(
                        "event",
                        Level::Warn,
                        "an event of Lambda's could not be read; it is passed over",
                    );
                    continue;
                };
                let is_last = matches!(event, Event::Shutdown(_));
                take_turn(&turns, event).await;
                if is_last {
                    return;
                }
            }
            Err(error) => {
                log.once(
                    "next",
                    Level::Error,
                    format_args!("could not get the next event, trying again: {error}"),
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn take_turn(turns: &mpsc::Sender<Turn>, event: Event) {
    let (finished, is_finished) = oneshot::channel();
    if turns.send(Turn { event, finished }).await.is_ok() {
        // An error means that the turn was dropped, which is an end like any other.
        let _ = is_finished.await;
    }
}

/// Registers, and says for which events.
async fn register<'a>(api: &mut Api, mut events: &'a [&'a str], log: &Log) -> (Registration, &'a [&'a str]) {
    let executable = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&executable).file_name().unwrap_or_default().to_string_lossy();
    let mut pause = FIRST_PAUSE;
    loop {
        match api.register(&name, events).await {
            Ok(registration) => return (registration, events),
            Err(error) if error.refuses_an_event() && events.contains(&"INVOKE") => {
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
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
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
