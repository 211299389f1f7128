//! Outlets without the rest of the extension, beside a local X-Ray.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray::accounts::Accounts;
use otel_xray::export::{
    Clients, Config, DaemonAddress, Flushed, Moment, Occasion, Outlets, OwnAddresses, Waiting, Window,
};
use otel_xray::invocation::trace_header::TraceHeader;
use otel_xray::invocation::{Batch, Collected, Invocation, Load, Mode, Origin};
use otel_xray::ledger::Ledger;
use otel_xray::log::{Format, Level, Log};
use otel_xray::settings::{OutletKind, Spool};
use otel_xray::translate::{Function, Masked, Target, TranslatedDocument, Translator};
use otel_xray_local::xray::Endpoint;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Long enough for anything that does not hang.
pub(crate) const AMPLE: Duration = Duration::from_mins(3);

/// Long enough for requests to leave on a busy machine. A test waits as long for what hangs.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

pub(crate) struct Stage {
    pub(crate) xray: Endpoint,
    pub(crate) outlets: Outlets,
    pub(crate) daemon: DaemonAddress,
    /// Where this extension itself listens.
    pub(crate) own: OwnAddresses,
    /// Where everything leads, in tests with another than the local X-Ray.
    pub(crate) at: String,
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    /// The next variable that is read panics, or the next line of the log.
    pub(crate) panics: Arc<AtomicBool>,
    /// Added to the wall clock of the flushes to come: the environment was frozen.
    pub(crate) frozen: Duration,
    /// The clocks of the flushes, where they are not to go on by themselves.
    pub(crate) stopped: Option<Moment>,
    ledgers: HashMap<&'static str, Accounts>,
}

/// Spans of one trace, `PassThrough`: the first is the handler's.
pub(crate) fn batch(trace: u32, spans: u64) -> Batch {
    let mut trace_id = [0x65; 16];
    trace_id[12..].copy_from_slice(&trace.to_be_bytes());
    let id = |number: u64| ((u64::from(trace) << 32) + number + 1).to_be_bytes().to_vec();
    let span = |number: u64| Span {
        trace_id: trace_id.to_vec(),
        span_id: id(number),
        parent_span_id: if number == 0 { vec![] } else { id(0) },
        name: format!("work {number}"),
        // Remote calls: these stay documents of their own, however many there are (BET-29).
        kind: if number == 0 { 2 } else { 3 },
        start_time_unix_nano: 1_795_224_538_000_000_000 + number * 1_000_000,
        end_time_unix_nano: 1_795_224_539_000_000_000,
        attributes: vec![KeyValue {
            key: "note".into(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(format!("of {number}"))) }),
            ..KeyValue::default()
        }],
        flags: 0x101,
        ..Span::default()
    };
    let request_id = format!("request-{trace}");
    let collected = |number| Collected {
        span: Box::new(span(number)),
        origin: Arc::new(Origin::default()),
        request_id: Some(request_id.as_str().into()),
    };
    let header =
        TraceHeader::parse(&format!("Root=1-{}-{}{trace:08x};Sampled=1", "65".repeat(4), "65".repeat(8)));
    let function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:shop".to_owned();
    Batch {
        spans: (0..spans).map(collected).collect(),
        invocations: vec![Invocation {
            request_id,
            function_arn,
            header,
            mode: Mode::PassThrough,
            is_over: true,
            ..Invocation::default()
        }],
        ..Batch::default()
    }
}

pub(crate) fn function() -> Function {
    Function { name: "shop".into(), region: "eu-west-1".into(), ..Function::default() }
}

/// What the outlets are given for a batch.
pub(crate) fn documents(batch: &Batch) -> Vec<TranslatedDocument> {
    Translator::default().translate(&Masked::of(&mut batch.clone()), &function()).documents
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(&[OutletKind::Xray], &[], 4 * 1024 * 1024).await
    }

    /// `variables` come before those that lead to the local X-Ray.
    pub(crate) async fn with(
        kinds: &[OutletKind],
        variables: &[(&str, String)],
        buffer_bytes: usize,
    ) -> Self {
        Self::with_target(Target::Any, kinds, variables, buffer_bytes).await
    }

    pub(crate) async fn with_target(
        target: Target,
        kinds: &[OutletKind],
        variables: &[(&str, String)],
        buffer_bytes: usize,
    ) -> Self {
        let xray = Endpoint::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let mut all: HashMap<String, String> = [
            ("AWS_ENDPOINT_URL_XRAY", xray.url()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKID".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let panics = Arc::new(AtomicBool::new(false));
        let panics_now = Arc::clone(&panics);
        let log = Log::to(Level::Debug, Format::Text, move |line| {
            assert!(!panics_now.swap(false, Ordering::Relaxed), "told to panic");
            sink.lock().unwrap().push(line.to_owned());
        });
        let panics_now = Arc::clone(&panics);
        let lookup = move |name: &str| {
            assert!(!panics_now.swap(false, Ordering::Relaxed), "told to panic");
            all.get(name).cloned()
        };
        let clients = Arc::new(Clients::new(lookup).with_log(log.clone()));
        let own = clients.own().clone();
        let daemon = DaemonAddress::other_than(own.clone());
        let outlets = Outlets::new(
            Config {
                outlets: kinds.to_vec(),
                ledger: Ledger::new(buffer_bytes),
                daemon: daemon.clone(),
                otlp_target: target,
            },
            clients,
            log,
        );
        Self {
            xray,
            outlets,
            daemon,
            own,
            at: String::new(),
            lines,
            panics,
            frozen: Duration::ZERO,
            stopped: None,
            ledgers: HashMap::new(),
        }
    }

    pub(crate) async fn flush(&mut self, batch: Batch) {
        self.flush_within(batch, AMPLE).await;
    }

    /// The flush at the end of the environment.
    pub(crate) async fn flush_at_last(&mut self) {
        self.flush_in(Batch::default(), AMPLE, Occasion::Last).await;
    }

    pub(crate) async fn flush_within(&mut self, batch: Batch, time: Duration) {
        self.flush_in(batch, time, Occasion::Held).await;
    }

    /// An invocation begins: what has failed is tried beside it, if it is time.
    pub(crate) fn begin_invocation(&mut self) {
        let until = Instant::now() + AMPLE;
        let window = Window { now: self.now(), until, occasion: Occasion::Beside };
        self.outlets.probe(window);
    }

    /// Flushes until nothing waits: what was started beside an invocation has been answered some time.
    pub(crate) async fn recover(&mut self) {
        while self.carried() > 0 {
            self.flush(Batch::default()).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn flush_in(&mut self, batch: Batch, time: Duration, occasion: Occasion) {
        self.flush_until(batch, time, occasion, std::future::pending()).await;
    }

    /// One that is ended when `cut` is.
    pub(crate) async fn flush_until(
        &mut self,
        batch: Batch,
        time: Duration,
        occasion: Occasion,
        cut: impl Future<Output = ()>,
    ) {
        let spans = batch.spans.len() as u64;
        for (kind, _) in self.outlets.waiting_spans() {
            self.ledgers.entry(kind.name()).or_default().receive(spans);
        }
        let window = Window { now: self.now(), until: Instant::now() + time, occasion };
        let flushed = self.outlets.flush(Load::of(batch), Arc::new(function()), window, cut).await;
        self.note(flushed);
    }

    /// The end of the process.
    pub(crate) fn leave(&mut self, spool: Option<&Spool>) {
        let lost = self.outlets.leave(spool, self.now());
        self.note(lost);
    }

    /// The beginning of one that is so much later.
    pub(crate) fn restore(&mut self, spool: &Spool, later: Duration) {
        self.frozen += later;
        let taken = self.outlets.restore(spool, self.now(), &mut Waiting::default());
        self.note(taken);
    }

    fn now(&self) -> Moment {
        let mut now = self.stopped.unwrap_or_else(Moment::now);
        now.unix += self.frozen;
        now
    }

    fn note(&mut self, flushed: Vec<Flushed>) {
        for flushed in flushed {
            self.ledgers.entry(flushed.outlet.name()).or_default().add(flushed.accounts);
        }
        for (kind, waiting) in self.outlets.waiting_spans() {
            let accounts = self.ledgers.entry(kind.name()).or_default();
            assert!(accounts.balance(waiting), "P2: {}: {}", kind.name(), accounts.to_json_with(waiting));
        }
    }

    /// The accounts of an outlet, which have been seen to balance after every flush.
    pub(crate) fn accounts(&self, outlet: &str) -> serde_json::Value {
        self.ledgers[outlet].to_json()
    }

    pub(crate) fn sent(&self) -> u64 {
        self.accounts("xray")["sent"].as_u64().unwrap()
    }

    pub(crate) fn carried(&self) -> u64 {
        self.outlets.waiting_spans().iter().map(|(_, spans)| spans).sum()
    }

    /// Documents of each `PutTraceSegments` so far, with the answer's status; 0 is none.
    pub(crate) fn requests(&self) -> Vec<(u16, usize)> {
        let requests = self.xray.requests();
        let puts = requests.iter().filter(|request| request.path == "/TraceSegments");
        puts.map(|request| (request.status, request.documents)).collect()
    }

    pub(crate) fn stored(&self) -> usize {
        self.xray.store().documents().len()
    }

    pub(crate) fn said(&self, part: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }
}
