//! Nothing is sent to where this extension itself listens, however that is spelled.

use crate::stage::{Stage, batch};
use otel_xray::export::Transport;
use otel_xray::received::{OtlpSignal, Relayed};
use otel_xray::settings::OutletKind;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// A receiver of this extension's, and how many bytes have come to it.
async fn receiver(on: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((on, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let bytes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&bytes);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    count.fetch_add(read, Ordering::Relaxed);
                }
            });
        }
    });
    (address, bytes)
}

/// The spellings of a loopback address that lead to a receiver on 127.0.0.1.
const SPELLINGS: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
];

#[tokio::test]
async fn p2_spans_that_would_come_back_are_not_sent_and_one_line_names_the_variable() {
    let (own, bytes) = receiver("127.0.0.1").await;
    for host in SPELLINGS {
        for (variable, path) in
            [("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces")]
        {
            let endpoint = [(variable, format!("http://{host}:{}{path}", own.port()))];
            let mut stage = Stage::with(&[OutletKind::Otlp, OutletKind::Xray], &endpoint, 1 << 20).await;
            stage.own.add(Transport::Tcp, own);
            for trace in 1..=3 {
                stage.flush(batch(trace, 3)).await;
            }
            assert_eq!(stage.accounts("otlp")["dropped"], json!({"outlet_failed": 9}), "{host}");
            assert_eq!((stage.said("circles"), stage.said(&format!("{variable} "))), (1, 1), "{host}");
            assert_eq!(stage.sent(), 9, "{host}: the other outlet goes on");
        }
    }
    assert_eq!(bytes.load(Ordering::Relaxed), 0, "nothing is written to the connection");
}

#[tokio::test]
async fn p2_a_receiver_on_all_addresses_is_known_by_each_of_them() {
    let (own, bytes) = receiver("0.0.0.0").await;
    for host in ["127.0.0.1", "127.9.8.7", "0.0.0.0"] {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://{host}:{}", own.port()))];
        let mut stage = Stage::with(&[OutletKind::Otlp], &endpoint, 1 << 20).await;
        stage.own.add(Transport::Tcp, own);
        stage.flush(batch(1, 3)).await;
        assert_eq!((stage.said("circles"), stage.carried()), (1, 0), "{host}");
    }
    assert_eq!(bytes.load(Ordering::Relaxed), 0, "no handshake is begun either");
}

#[tokio::test]
async fn somebody_elses_port_on_this_machine_is_no_circle() {
    let (own, _) = receiver("127.0.0.1").await;
    let (other, bytes) = receiver("127.0.0.1").await;
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://localhost:{}", other.port()))];
    let mut stage = Stage::with(&[OutletKind::Otlp], &endpoint, 1 << 20).await;
    stage.own.add(Transport::Tcp, own);
    stage.flush_within(batch(1, 3), std::time::Duration::from_millis(300)).await;
    assert_eq!((stage.said("circles"), stage.carried()), (0, 3));
    assert!(bytes.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn p2_metrics_and_logs_do_not_go_in_circles_either() {
    let (own, bytes) = receiver("127.0.0.1").await;
    let collector = format!("http://127.1:{}", own.port());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.clone()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", format!("{collector}/v1/logs")),
    ];
    let mut stage = Stage::with(&[OutletKind::Otlp], &variables, 1 << 20).await;
    stage.own.add(Transport::Tcp, own);
    let request = |signal| Relayed { signal, is_json: false, is_gzip: false, body: vec![0; 9].into() };
    stage.outlets.relay(vec![
        request(OtlpSignal::Logs),
        request(OtlpSignal::Metrics),
        request(OtlpSignal::Metrics),
    ]);
    stage.flush(batch(1, 1)).await;
    let mut dropped = std::collections::BTreeMap::<_, u64>::new();
    for (signal, accounts) in stage.outlets.take_relayed() {
        *dropped.entry(signal.name()).or_default() += accounts.dropped(otel_xray::accounts::Reason::NoOutlet);
    }
    assert_eq!(dropped, [("logs", 1), ("metrics", 2)].into());
    assert_eq!((stage.said("logs are dropped"), stage.said("metrics are dropped")), (1, 1));
    assert_eq!(stage.said("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"), 1);
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn p2_the_api_is_not_looked_for_here() {
    let (own, bytes) = receiver("127.0.0.1").await;
    for host in SPELLINGS {
        let endpoint = [("AWS_ENDPOINT_URL_XRAY", format!("http://{host}:{}", own.port()))];
        let mut stage = Stage::with(&[OutletKind::Xray], &endpoint, 1 << 20).await;
        stage.own.add(Transport::Tcp, own);
        stage.flush(batch(1, 3)).await;
        stage.flush(batch(2, 3)).await;
        assert_eq!((stage.said("AWS_ENDPOINT_URL_XRAY"), stage.carried()), (1, 6), "{host}");
    }
    assert_eq!(bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn env_2_documents_do_not_go_to_the_port_that_stands_in_for_the_daemon() {
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    own.set_nonblocking(true).unwrap();
    let address = own.local_addr().unwrap();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "udp:0.0.0.0"] {
        let daemon = [("AWS_XRAY_DAEMON_ADDRESS", format!("{host}:{}", address.port()))];
        let mut stage = Stage::with(&[OutletKind::Daemon], &daemon, 1 << 20).await;
        stage.own.add(Transport::Udp, address);
        stage.flush_within(batch(1, 3), std::time::Duration::from_millis(200)).await;
        assert!(own.recv(&mut [0; 10]).is_err(), "{host}");
    }
}
