//! What the platform says of an invocation: log lines, telemetry records (section 6.3) and its own segments.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::caller::FunctionError;
use super::segments::{TracedInvocation, documents};
use crate::lambda::clock::iso8601;
use crate::lambda::lifecycle::invoke::{Invocation, InvocationReport, InvocationStatus, Progress};
use crate::lambda::state::Platform;

impl Platform {
    pub(crate) fn announce_invocation(&self, invocation: &Invocation) {
        let config = &self.config;
        self.say(format!("START RequestId: {} Version: {}", invocation.request_id, config.function_version));
        let mut start = json!({
            "requestId": invocation.request_id,
            "version": config.function_version,
            "functionArn": config.function_arn(),
        });
        invocation.add_tracing(&mut start);
        self.telemetry.platform("platform.start", &start);
    }

    pub(crate) fn announce_runtime_done(
        &self,
        invocation: &Invocation,
        progress: &Progress,
        status: &str,
        error_type: Option<&str>,
    ) {
        let mut done = json!({"requestId": invocation.request_id, "status": status});
        if let Some(error_type) = error_type {
            done["errorType"] = json!(error_type);
        }
        if let Some(latency) = progress.response_latency {
            done["metrics"] = json!({"durationMs": milliseconds(invocation.started.elapsed())});
            done["spans"] = json!([{
                "name": "responseLatency",
                "start": iso8601(invocation.begin),
                "durationMs": milliseconds(latency),
            }]);
        }
        invocation.add_tracing(&mut done);
        self.telemetry.platform("platform.runtimeDone", &done);
    }

    /// After the freeze: the record reaches an extension only when it runs again (L-6.7).
    pub(crate) fn announce_report(&self, invocation: &Invocation, report: &InvocationReport) {
        let (duration_ms, request_id) = (milliseconds(report.duration), &report.request_id);
        let billed_ms = duration_ms.ceil();
        self.say(format!("END RequestId: {request_id}"));
        let memory_mb = self.config.memory_mb;
        let mut metrics = json!({"durationMs": duration_ms, "billedDurationMs": billed_ms, "memorySizeMB": memory_mb,
                   "maxMemoryUsedMB": report.max_memory_used_mb});
        let mut line = format!(
            "REPORT RequestId: {request_id}\tDuration: {duration_ms:.2} ms\tBilled Duration: {billed_ms} ms\t\
             Memory Size: {memory_mb} MB\tMax Memory Used: {} MB",
            report.max_memory_used_mb
        );
        if let Some(init) = report.init_duration {
            metrics["initDurationMs"] = json!(milliseconds(init));
            let _ = write!(line, "\tInit Duration: {:.2} ms", milliseconds(init));
        }
        if let Some(restore) = report.restore_duration {
            metrics["restoreDurationMs"] = json!(milliseconds(restore));
            let _ = write!(line, "\tRestore Duration: {:.2} ms", milliseconds(restore));
        }
        if report.status != InvocationStatus::Success {
            let _ = write!(line, "\tStatus: {}", report.status.as_str());
        }
        if let Some(error_type) = &report.error_type {
            let _ = write!(line, "\tError Type: {error_type}");
        }
        self.say(line);
        let mut record =
            json!({"requestId": request_id, "status": report.status.as_str(), "metrics": metrics});
        if let Some(error_type) = &report.error_type {
            record["errorType"] = json!(error_type);
        }
        if let Some(overhead) = report.extension_overhead {
            let start = iso8601(SystemTime::now() - overhead);
            record["spans"] =
                json!([{"name": "extensionOverhead", "start": start, "durationMs": milliseconds(overhead)}]);
        }
        invocation.add_tracing(&mut record);
        self.telemetry.platform("platform.report", &record);
    }

    pub(crate) fn write_segments(
        &self,
        invocation: &Invocation,
        end: SystemTime,
        init: Option<(&'static str, SystemTime, SystemTime)>,
        error: Option<&FunctionError>,
    ) {
        let config = &self.config;
        if let (Some(segments), Some(on_segments)) = (&invocation.trace.segments, &config.on_segments) {
            let request_id = &invocation.request_id;
            let traced = TracedInvocation { segments, request_id, begin: invocation.begin, end, init, error };
            on_segments(documents(config, &traced));
        }
    }
}

impl Invocation {
    /// Telemetry names the trace only when it is sampled.
    pub(crate) fn add_tracing(&self, record: &mut Value) {
        if let Some(segments) = &self.trace.segments {
            record["tracing"] = json!({
                "type": "X-Amzn-Trace-Id",
                "spanId": segments.function,
                "value": self.trace.runtime_header,
            });
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
