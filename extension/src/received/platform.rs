//! What the platform tells of initialisations and invocations (L-6.1, section 6.3 of its records).

/// One record of the platform, and when it happened.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformEvent {
    /// Nanoseconds since the epoch; 0 when the platform did not say.
    pub time_unix_nano: u64,
    pub record: PlatformRecord,
}

/// The records that matter for a trace.
#[derive(Debug, Clone, PartialEq)]
pub enum PlatformRecord {
    InitStart(InitStart),
    /// The runtime is ready, or its initialisation has failed.
    InitRuntimeDone(Finished),
    InitReport(Finished),
    RestoreStart,
    RestoreRuntimeDone(Finished),
    RestoreReport(Finished),
    Start(Start),
    /// The runtime is done with an invocation, well or badly.
    RuntimeDone(InvocationDone),
    /// The same with what it cost; it comes after the extension has asked for the next event (L-6.7).
    Report(InvocationDone),
}

impl PlatformRecord {
    /// Whether the memory of this process was just restored from a snapshot (L-8.24).
    pub fn is_restore(&self) -> bool {
        matches!(self, Self::RestoreStart | Self::RestoreRuntimeDone(_) | Self::RestoreReport(_))
    }
}

/// An initialisation begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitStart {
    /// `on-demand`, `provisioned-concurrency`, `snap-start`, `lambda-managed-instances`.
    pub initialization_type: String,
    pub phase: Phase,
    pub tracing: Tracing,
}

/// The end of an initialisation or of a restore.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finished {
    pub initialization_type: String,
    pub phase: Phase,
    pub status: Status,
    /// Such as `Runtime.ExitError`; empty without an error.
    pub error_type: String,
    /// How long it took, in milliseconds; only in reports.
    pub duration_ms: Option<f64>,
    pub tracing: Tracing,
}

/// An invocation begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    pub request_id: String,
    pub tracing: Tracing,
}

/// The end of an invocation, as the runtime's part or as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InvocationDone {
    pub request_id: String,
    /// A handler that raised may be a `Success` here (L-6.10): good for `Timeout` and for crashes only.
    pub status: Status,
    pub error_type: String,
    pub metrics: Metrics,
    pub spans: Vec<PlatformSpan>,
    pub tracing: Tracing,
}

/// Each as far as the platform said it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Metrics {
    pub duration_ms: Option<f64>,
    pub billed_duration_ms: Option<f64>,
    pub init_duration_ms: Option<f64>,
    pub restore_duration_ms: Option<f64>,
    pub produced_bytes: Option<u64>,
    pub memory_size_mb: Option<u64>,
    pub max_memory_used_mb: Option<u64>,
}

/// A stretch of time that the platform measured, such as `responseLatency` or `extensionOverhead`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlatformSpan {
    pub name: String,
    /// Nanoseconds since the epoch; 0 when the platform did not say.
    pub start_unix_nano: u64,
    pub duration_ms: f64,
}

/// The trace an event belongs to; both empty without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracing {
    /// The id of Lambda's own segment or subsegment.
    pub span_id: String,
    /// A trace header.
    pub value: String,
}

/// When an initialisation takes place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    Init,
    /// Suppressed: inside an invocation, after a reset (L-8.21).
    Invoke,
    SnapStart,
    Other(String),
    #[default]
    Unsaid,
}

/// How something ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Status {
    Success,
    Failure,
    Error,
    Timeout,
    Other(String),
    #[default]
    Unsaid,
}
