//! `SnapStart`: the environment waits as a snapshot, and the first invocation pays for its restore (section 8.8).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Driver;
use super::init::{InitFailure, failure_in};
use crate::lambda::event_log::Phase;

/// For everything from the thaw to the runtime's `next`, its hooks included (section 2).
const RESTORE_LIMIT: Duration = Duration::from_secs(10);

/// When the restore that an invocation paid for began and ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restore {
    pub(crate) begin: SystemTime,
    pub(crate) duration: Duration,
}

impl Driver {
    /// Resumes the processes with other credentials and lets the runtime run its hooks.
    pub(crate) async fn restore(&mut self) -> Result<Restore, InitFailure> {
        let (started, begin) = (Instant::now(), SystemTime::now());
        self.in_snapshot = false;
        self.platform.clock.set_back(Duration::ZERO);
        self.platform.enter(Phase::Restore);
        self.platform.endpoint_tokens.renew_credentials();
        self.thaw();
        let config = &self.platform.config;
        let names = json!({"functionName": config.function_name, "functionVersion": config.function_version});
        self.platform.telemetry.platform("platform.restoreStart", &names);
        self.platform.update(|state| state.runtime.release_restore());
        let waiting = self.platform.wait(|state| match failure_in(state) {
            Some(failure) => Some(Err(failure)),
            None => state.runtime.is_ready().then_some(Ok(())),
        });
        let outcome = tokio::time::timeout(RESTORE_LIMIT, waiting).await.unwrap_or_else(|_| {
            let message = format!("the restore took more than {} seconds", RESTORE_LIMIT.as_secs());
            Err(InitFailure::timeout(message))
        });
        let duration = started.elapsed();
        self.announce_restore(duration, outcome.as_ref().err());
        outcome.map(|()| Restore { begin, duration })
    }

    fn announce_restore(&self, duration: Duration, failure: Option<&InitFailure>) {
        let duration_ms = duration.as_secs_f64() * 1_000.0;
        let status = failure.map_or("success", InitFailure::status);
        let mut record = json!({ "status": status });
        if let Some(failure) = failure {
            record["errorType"] = Value::from(failure.error_type.clone());
        }
        let telemetry = &self.platform.telemetry;
        telemetry.platform("platform.restoreRuntimeDone", &record);
        record["metrics"] = json!({ "durationMs": duration_ms });
        telemetry.platform("platform.restoreReport", &record);
        self.platform.say(format!("RESTORE_REPORT Restore Duration: {duration_ms:.2} ms\tStatus: {status}"));
    }
}
