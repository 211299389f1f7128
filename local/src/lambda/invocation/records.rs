//! What the platform says of an invocation: log lines, telemetry records (section 6.3) and its own segments.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::caller::FunctionError;
use super::segments::{TracedInvocation, documents};
use super::{Invocation, InvocationReport, InvocationStatus};
use crate::lambda::clock::iso8601;
use crate::lambda::state::Platform;

impl Invocation {
    pub(crate) fn announce_start(&self, platform: &Platform) {
        let config = &platform.config;
        platform.say(format!("START RequestId: {} Version: {}", self.request_id, config.function_version));
        let mut start = json!({
            "requestId": self.request_id,
            "version": config.function_version,
            "functionArn": config.function_arn(),
        });
        self.add_tracing(&mut start);
        platform.telemetry.platform("platform.start", &start);
    }

    pub(crate) fn announce_runtime_done(
        &self,
        platform: &Platform,
        response_latency: Option<Duration>,
        status: &str,
        error_type: Option<&str>,
    ) {
        let mut done = json!({"requestId": self.request_id, "status": status});
        if let Some(error_type) = error_type {
            done["errorType"] = json!(error_type);
        }
        if let Some(latency) = response_latency {
            done["metrics"] = json!({"durationMs": milliseconds(self.started.elapsed())});
            done["spans"] = json!([{
                "name": "responseLatency",
                "start": iso8601(self.begin),
                "durationMs": milliseconds(latency),
            }]);
        }
        self.add_tracing(&mut done);
        platform.telemetry.platform("platform.runtimeDone", &done);
    }

    /// After the freeze: the record reaches an extension only when it runs again (L-6.7).
    pub(crate) fn announce_report(&self, platform: &Platform, report: &InvocationReport) {
        let (duration_ms, request_id) = (milliseconds(report.duration), &report.request_id);
        let billed_ms = duration_ms.ceil();
        platform.say(format!("END RequestId: {request_id}"));
        let memory_mb = platform.config.memory_mb;
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
        platform.say(line);
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
        self.add_tracing(&mut record);
        platform.telemetry.platform("platform.report", &record);
    }

    pub(crate) fn write_segments(
        &self,
        platform: &Platform,
        end: SystemTime,
        init: Option<(&'static str, SystemTime, SystemTime)>,
        error: Option<&FunctionError>,
    ) {
        let config = &platform.config;
        if let (Some(segments), Some(on_segments)) = (&self.trace.segments, &config.on_segments) {
            let request_id = &self.request_id;
            let traced = TracedInvocation { segments, request_id, begin: self.begin, end, init, error };
            on_segments(documents(config, &traced));
        }
    }

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
