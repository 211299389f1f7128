//! The outlet to an OpenTelemetry collector.

use crate::stage::{SHORT, Stage, batch};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray::invocation::Batch;
use otel_xray::settings::OutletKind;
use otel_xray_local::xray::Fault;
use prost::Message as _;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A status, headers and the spans of a partial success.
pub(crate) type Answer = (u16, Vec<(&'static str, &'static str)>, i64);

/// The status of an answer that does not come.
pub(crate) const NEVER: u16 = 0;

/// Its headers and what it holds.
pub(crate) type Received = (HashMap<String, String>, ExportTraceServiceRequest);

#[derive(Clone, Default)]
pub(crate) struct Collector {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<Received>>>,
    pub(crate) answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = Self { url, ..Self::default() };
        let state = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                let service = service_fn(move |request| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(state.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        collector
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let headers: HashMap<String, String> =
            head.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        let mut plain = Vec::new();
        if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        } else {
            plain = body.to_vec();
        }
        let request = ExportTraceServiceRequest::decode(&plain[..]).unwrap();
        self.requests.lock().unwrap().push((headers, request));
        let (status, headers, rejected_spans) =
            self.answers.lock().unwrap().pop_front().unwrap_or((200, vec![], 0));
        let partial_success = (rejected_spans > 0)
            .then(|| ExportTracePartialSuccess { rejected_spans, error_message: "too old".into() });
        if status == NEVER {
            std::future::pending::<()>().await;
        }
        let body = if status == 200 {
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        } else {
            b"told to".to_vec()
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(Full::new(body.into())).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.requests.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    pub(crate) fn will_answer(&self, answers: &[u16]) {
        self.answers.lock().unwrap().extend(answers.iter().map(|status| (*status, vec![], 0)));
    }

    /// The spans of each request.
    pub(crate) fn spans(&self) -> Vec<Vec<Span>> {
        let of = |request: &ExportTraceServiceRequest| {
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            scopes.flat_map(|scope| scope.spans.clone()).collect()
        };
        self.requests.lock().unwrap().iter().map(|(_, request)| of(request)).collect()
    }

    pub(crate) fn counts(&self) -> Vec<usize> {
        self.spans().iter().map(Vec::len).collect()
    }

    pub(crate) async fn stage(&self, variables: &[(&str, &str)]) -> Stage {
        let mut all = vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", self.url.clone())];
        all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Stage::with(&[OutletKind::Otlp], &all, 1 << 20).await
    }
}

fn originals(batch: &Batch) -> Vec<Span> {
    batch.spans.iter().map(|collected| (*collected.span).clone()).collect()
}

#[tokio::test]
async fn spans_arrive_as_they_are_with_what_is_known_of_the_function() {
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20cret,x-tenant=shop"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let mut stage = collector.stage(&variables).await;
    stage.flush(batch(1, 7)).await;
    assert_eq!(collector.spans(), [originals(&batch(1, 7))]);
    let (headers, request) = collector.requests.lock().unwrap()[0].clone();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!((headers["api-key"].as_str(), headers["x-tenant"].as_str()), ("s cret", "shop"));
    assert!(!headers.contains_key("authorization"));
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "faas.name"));
    assert_eq!(
        stage.accounts("otlp"),
        json!({
            "event": "otel_xray.accounting", "received": 7, "sent": 7, "rejected": {}, "dropped": {}, "carried": 0,
        })
    );
    assert_eq!(stage.requests(), [], "nothing went to the API");
}

#[tokio::test]
async fn rows_4_and_6_unsampled_spans_are_counted_and_stay() {
    let collector = Collector::start().await;
    let mut stage = collector.stage(&[]).await;
    let mut mixed = batch(1, 3);
    mixed.spans[2].span.flags = 0x102;
    stage.flush(mixed).await;
    assert_eq!(
        (collector.counts(), stage.accounts("otlp")["dropped"].clone()),
        (vec![2], json!({"unsampled": 1}))
    );
}

#[tokio::test]
async fn a_partial_success_is_counted() {
    let collector = Collector::start().await;
    let mut stage = collector.stage(&[]).await;
    collector.answers.lock().unwrap().push_back((200, vec![], 2));
    stage.flush(batch(1, 5)).await;
    let accounts = stage.accounts("otlp");
    assert_eq!(
        (accounts["sent"].as_u64(), accounts["rejected"].clone()),
        (Some(3), json!({"partial_success": 2}))
    );
    assert_eq!(stage.said("refused 2 spans: too old"), 1);
}

#[tokio::test]
async fn retryable_answers_are_tried_again_and_others_are_not() {
    for status in [429, 502, 503, 504] {
        let collector = Collector::start().await;
        let mut stage = collector.stage(&[]).await;
        collector.will_answer(&[status]);
        stage.flush(batch(1, 5)).await;
        assert_eq!(
            (collector.counts(), stage.accounts("otlp")["sent"].as_u64()),
            (vec![5, 5], Some(5)),
            "{status}"
        );
    }
    for status in [400, 500, 501] {
        let collector = Collector::start().await;
        let mut stage = collector.stage(&[]).await;
        collector.will_answer(&[status]);
        stage.flush(batch(1, 5)).await;
        let rejected = stage.accounts("otlp")["rejected"].clone();
        assert_eq!((collector.counts(), rejected), (vec![5], json!({status.to_string(): 5})), "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_kept_to_and_what_does_not_fit_waits() {
    let collector = Collector::start().await;
    let mut stage = collector.stage(&[]).await;
    collector.answers.lock().unwrap().push_back((429, vec![("retry-after", "3600")], 0));
    stage.flush(batch(1, 5)).await;
    assert_eq!((collector.counts().len(), stage.carried()), (1, 5));
    stage.flush(batch(2, 1)).await;
    assert_eq!((collector.counts(), stage.carried()), (vec![5], 6), "not before its time");
    stage.flush_at_last().await;
    assert_eq!((collector.counts(), stage.carried()), (vec![5, 6], 0));
}

#[tokio::test]
async fn p1_p4_a_collector_that_never_answers_holds_nothing_and_is_left_alone_for_a_while() {
    let collector = Collector::start().await;
    let mut stage = collector.stage(&[]).await;
    collector.will_answer(&[NEVER; 9]);
    stage.stopped = Some(otel_xray::export::Moment::now());
    for trace in 1..=4 {
        stage.flush_within(batch(trace, 1), SHORT).await;
    }
    assert_eq!((collector.counts(), stage.carried()), (vec![1, 2], 4));
    collector.answers.lock().unwrap().clear();
    stage.flush_at_last().await;
    assert_eq!((collector.counts(), stage.carried()), (vec![1, 2, 4], 0));
}

#[tokio::test]
async fn too_large_a_request_is_cut_and_a_large_flush_is_several_requests() {
    let collector = Collector::start().await;
    let mut stage = collector.stage(&[]).await;
    collector.will_answer(&[413, 413]);
    stage.flush(batch(1, 8)).await;
    assert_eq!(collector.counts(), [8, 4, 2, 2, 4]);
    stage.flush(batch(2, 4100)).await;
    assert_eq!(collector.counts()[5..], [2000, 2000, 100]);
    assert_eq!(stage.accounts("otlp")["sent"], 4108);
}

#[tokio::test]
async fn nobody_there_keeps_the_spans_and_an_outlet_without_an_endpoint_says_so_once() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{gone}"))];
    let mut stage = Stage::with(&[OutletKind::Otlp], &endpoint, 1 << 20).await;
    stage.flush(batch(1, 5)).await;
    assert_eq!((stage.carried(), stage.said("Connection refused")), (5, 1));

    let mut stage = Stage::with(&[OutletKind::Otlp, OutletKind::Xray], &[], 1 << 20).await;
    stage.flush(batch(1, 5)).await;
    stage.flush(batch(2, 5)).await;
    assert_eq!(stage.accounts("otlp")["dropped"], json!({"outlet_failed": 10}));
    assert_eq!((stage.said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), stage.sent()), (1, 10));
}

#[tokio::test]
async fn oep_1_oep_3_oep_5_x_rays_endpoint_is_signed_and_its_limits_kept() {
    let collector = Collector::start().await;
    let mut stage =
        collector.stage(&[("OTEL_XRAY_OTLP_SIGN", "true"), ("AWS_SESSION_TOKEN", "session")]).await;
    let now = u64::try_from(otel_xray::export::Moment::now().unix.as_nanos()).unwrap();
    let day = 86_400_000_000_000;
    let mut mixed = batch(1, 5);
    for (collected, start) in
        mixed.spans.iter_mut().zip([now, now - 15 * day, now + day, now - 13 * day, now])
    {
        collected.span.start_time_unix_nano = start;
    }
    mixed.spans[4].span.name = "n".repeat(250_000);
    stage.flush(mixed).await;
    assert_eq!(collector.counts(), [2]);
    assert_eq!(stage.accounts("otlp")["dropped"], json!({"oversize": 1, "time_out_of_range": 2}));
    let headers = collector.requests.lock().unwrap()[0].0.clone();
    let authorization = &headers["authorization"];
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
    assert!(authorization.contains("/eu-west-1/xray/aws4_request"), "{authorization}");
    for signed in ["content-type", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"] {
        let list = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
        assert!(list.split(';').any(|header| header == signed), "{signed} in {list}");
        assert!(headers.contains_key(signed), "{signed}");
    }

    collector.will_answer(&[400, 400]);
    for trace in 2..=3 {
        let mut recent = batch(trace, 1);
        recent.spans[0].span.start_time_unix_nano = now;
        stage.flush(recent).await;
    }
    assert_eq!((collector.counts().len(), stage.said("Transaction Search")), (3, 1));
    assert_eq!(stage.accounts("otlp")["rejected"], json!({"400": 2}));
}

#[tokio::test]
async fn three_outlets_fail_and_send_each_for_itself() {
    let collector = Collector::start().await;
    let daemon = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url.clone()),
        ("AWS_XRAY_DAEMON_ADDRESS", daemon.local_addr().unwrap().to_string()),
    ];
    let kinds = [OutletKind::Otlp, OutletKind::Xray, OutletKind::Daemon];
    let mut stage = Stage::with(&kinds, &variables, 1 << 20).await;
    stage.xray.faults().add(&Fault::Hang, 1);
    collector.will_answer(&[400]);
    stage.flush_within(batch(1, 5), SHORT).await;
    let waiting = stage.outlets.waiting_spans();
    assert_eq!(waiting, [(OutletKind::Otlp, 0), (OutletKind::Xray, 5), (OutletKind::Daemon, 0)]);
    stage.flush(batch(2, 2)).await;
    let sent = |outlet: &str| stage.accounts(outlet)["sent"].as_u64().unwrap();
    assert_eq!((sent("otlp"), sent("xray"), sent("daemon")), (2, 7, 7));
}
