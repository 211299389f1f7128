//! Credentials from an endpoint, as functions with `SnapStart` have them (BET-35).

use crate::stage::{Stage, batch};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use otel_xray::settings::OutletKind;
use otel_xray_local::xray::Fault;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;

/// What each request had as `Authorization`.
type Asked = Arc<Mutex<Vec<String>>>;

/// An endpoint whose credentials last `lasting`. The n-th answer has the key `KEYn`; the first `failures` fail.
async fn endpoint(lasting: Duration, failures: usize) -> (SocketAddr, Asked) {
    endpoint_that(lasting, move |number| number <= failures).await
}

/// One that fails at these numbers.
async fn endpoint_that(
    lasting: Duration,
    fails: impl Fn(usize) -> bool + Clone + Send + 'static,
) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let state = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (state, fails) = (Arc::clone(&state), fails.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let number = {
                    let mut asked = state.lock().unwrap();
                    let token =
                        request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
                    asked.push(token.unwrap_or_default());
                    asked.len()
                };
                let expiration: aws_smithy_types::DateTime = (SystemTime::now() + lasting).into();
                let expiration = expiration.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap();
                let body = serde_json::json!({
                    "AccessKeyId": format!("KEY{number}"), "SecretAccessKey": "s", "Token": "t", "Expiration": expiration,
                });
                let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
                if fails(number) {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                async move { Ok::<_, Infallible>(response) }
            });
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served);
        }
    });
    (address, asked)
}

async fn stage(address: SocketAddr, token: &[(&str, String)]) -> Stage {
    let mut variables = vec![
        ("AWS_ACCESS_KEY_ID", String::new()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/2021-04-23/credentials")),
        ("AWS_LAMBDA_RUNTIME_API", address.to_string()),
    ];
    variables.extend_from_slice(token);
    Stage::with(&[OutletKind::Xray], &variables, 1 << 20).await
}

fn keys(stage: &Stage) -> Vec<String> {
    let key = |authorization: &str| {
        authorization.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned()
    };
    stage.xray.requests().iter().map(|request| key(&request.authorization)).collect()
}

#[tokio::test]
async fn bet_35_credentials_that_last_are_asked_for_once() {
    let (address, asked) = endpoint(Duration::from_hours(1), 0).await;
    let mut stage = stage(address, &[("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token-1".to_owned())]).await;
    stage.flush(batch(1, 3)).await;
    stage.flush(batch(2, 3)).await;
    assert_eq!((stage.sent(), keys(&stage)), (6, vec!["KEY1".to_owned(), "KEY1".to_owned()]));
    assert_eq!(*asked.lock().unwrap(), ["token-1"]);
}

#[tokio::test]
async fn bet_35_credentials_near_their_end_are_asked_for_again() {
    let (address, asked) = endpoint(Duration::from_mins(4), 0).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "token-1\n").unwrap();
    let path = file.path().display().to_string();
    let mut stage = stage(address, &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)]).await;
    stage.flush(batch(1, 3)).await;
    std::fs::write(file.path(), "token-2").unwrap();
    stage.flush(batch(2, 3)).await;
    assert_eq!((stage.sent(), keys(&stage)), (6, vec!["KEY1".to_owned(), "KEY2".to_owned()]));
    assert_eq!(*asked.lock().unwrap(), ["token-1", "token-2"], "a token in a file is read each time");
}

#[tokio::test]
async fn bet_35_an_endpoint_that_fails_for_a_moment_is_asked_again() {
    let (address, asked) = endpoint(Duration::from_hours(1), 1).await;
    let mut stage = stage(address, &[]).await;
    stage.flush(batch(1, 3)).await;
    assert_eq!((stage.sent(), asked.lock().unwrap().len()), (3, 2));
}

#[tokio::test]
async fn bet_35_credentials_that_cannot_be_renewed_are_used_to_their_end() {
    let (address, asked) = endpoint_that(Duration::from_mins(4), |number| number > 1).await;
    let mut stage = stage(address, &[]).await;
    for trace in 1..=3 {
        stage.flush(batch(trace, 1)).await;
    }
    assert_eq!((stage.sent(), keys(&stage)), (3, vec!["KEY1".to_owned(); 3]));
    assert_eq!(asked.lock().unwrap().len(), 2, "others are not asked for at every flush");
}

#[tokio::test]
async fn bet_36_credentials_that_x_ray_takes_for_expired_or_unknown_are_renewed_at_once() {
    for code in
        ["ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"]
    {
        for status in [400, 403] {
            let (address, _) = endpoint(Duration::from_hours(1), 0).await;
            let mut stage = stage(address, &[]).await;
            stage.xray.faults().add(&Fault::Status(status, code), 1);
            stage.flush(batch(1, 3)).await;
            assert_eq!(
                (stage.sent(), keys(&stage)),
                (3, vec!["KEY1".to_owned(), "KEY2".to_owned()]),
                "{code}"
            );
        }
    }
}

#[tokio::test]
async fn bet_36_credentials_that_stay_expired_are_told_as_that_and_the_spans_kept() {
    let mut stage = Stage::new().await;
    stage.xray.faults().add(&Fault::Status(403, "ExpiredTokenException"), 1);
    stage.flush(batch(1, 3)).await;
    assert_eq!(
        (stage.requests().len(), stage.carried()),
        (1, 3),
        "those of the environment cannot be renewed"
    );
    assert_eq!(
        (stage.said("have expired (ExpiredTokenException)"), stage.said("xray:PutTraceSegments")),
        (1, 0)
    );
    stage.frozen = Duration::from_mins(2);
    stage.begin_invocation();
    stage.flush(batch(2, 1)).await;
    stage.recover().await;
    assert_eq!((stage.sent(), stage.carried()), (4, 0));
}

#[tokio::test]
async fn oep_1_the_otlp_outlet_renews_them_too() {
    let (address, _) = endpoint(Duration::from_hours(1), 0).await;
    let xray = Stage::new().await.xray;
    let refusal = Fault::Status(403, "ExpiredTokenException");
    xray.faults().add(&refusal, 1);
    let variables = [
        ("AWS_ACCESS_KEY_ID", String::new()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{address}/")),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", xray.url())),
        ("OTEL_XRAY_OTLP_SIGN", "true".to_owned()),
    ];
    let mut stage = Stage::with(&[OutletKind::Otlp], &variables, 1 << 20).await;
    let mut now = batch(1, 1);
    now.spans[0].span.start_time_unix_nano =
        u64::try_from(otel_xray::export::Moment::now().unix.as_nanos()).unwrap();
    stage.flush(now).await;
    let used: Vec<bool> =
        xray.requests().iter().map(|request| request.authorization.contains("Credential=KEY2/")).collect();
    assert_eq!(used, [false, true]);
}

#[tokio::test]
async fn bet_36_without_credentials_one_line_says_so_and_the_spans_are_kept() {
    let mut stage = Stage::with(&[OutletKind::Xray], &[("AWS_ACCESS_KEY_ID", String::new())], 1 << 20).await;
    for trace in 1..=3 {
        stage.flush(batch(trace, 2)).await;
    }
    assert_eq!((stage.carried(), stage.requests().len(), stage.said("execution role")), (6, 0, 1));
}
