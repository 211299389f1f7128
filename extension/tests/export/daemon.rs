//! The outlet to an X-Ray daemon.

use crate::stage::{AMPLE, SHORT, Stage, batch, documents};
use otel_xray::settings::OutletKind;
use otel_xray_local::xray::Fault;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A socket as the daemon has it, and its address.
fn daemon() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// The documents of the next datagrams, after a look at their header lines (DMN-2).
fn received(socket: &UdpSocket, count: usize) -> Vec<String> {
    let mut buffer = vec![0; 65_536];
    (0..count)
        .map(|number| {
            let bytes = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{number} came: {error}"));
            let datagram = std::str::from_utf8(&buffer[..bytes]).unwrap();
            let (header, document) = datagram.split_once('\n').unwrap();
            assert_eq!(header, r#"{"format":"json","version":1}"#);
            document.to_owned()
        })
        .collect()
}

fn learn(stage: &Stage, address: SocketAddr) {
    stage.daemon.learn(&BTreeMap::from([("AWS_XRAY_DAEMON_ADDRESS".to_owned(), address.to_string())]));
}

#[tokio::test]
async fn dmn_2_each_document_is_a_datagram_with_a_header_line() {
    let (socket, address) = daemon();
    let own = [("AWS_XRAY_DAEMON_ADDRESS", format!("tcp:127.0.0.1:1 udp:{address}"))];
    let mut stage = Stage::with(&[OutletKind::Daemon], &own, 1 << 20).await;
    stage.flush(batch(1, 5)).await;
    let expected: Vec<_> = documents(&batch(1, 5)).into_iter().map(|document| document.json).collect();
    assert_eq!(received(&socket, 5), expected);
    assert_eq!(stage.accounts("daemon")["sent"], 5);
    assert_eq!(stage.requests(), [], "nothing went to the API");
}

#[tokio::test]
async fn dmn_5_a_thousand_documents_do_not_overrun_the_socket() {
    let (socket, address) = daemon();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    // In the sender's own thread: it reads whenever the sender pauses, however busy the machine is.
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        for _ in 0..2000 {
            socket.recv(&mut buffer).await.unwrap();
        }
    });
    let mut stage = Stage::with(&[OutletKind::Daemon], &[], 1 << 20).await;
    learn(&stage, address);
    // Several traces: X-Ray takes no more than 500 kB of one (LIM-2).
    let traces = (1..=8).map(|trace| batch(trace, 250));
    let all = traces.reduce(|mut all, next| {
        all.spans.extend(next.spans);
        all.invocations.extend(next.invocations);
        all
    });
    stage.flush(all.unwrap()).await;
    assert_eq!(stage.accounts("daemon")["sent"], 2000);
    tokio::time::timeout(AMPLE, reader).await.expect("all of them come").unwrap();
}

#[tokio::test]
async fn bet_30_documents_wait_until_a_daemon_listens() {
    let (socket, address) = daemon();
    drop(socket);
    let mut stage = Stage::with(&[OutletKind::Daemon], &[], 1 << 20).await;
    learn(&stage, address);
    stage.flush(batch(1, 5)).await;
    assert_eq!((stage.carried(), stage.said("does not take documents")), (5, 1));
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stage.flush(batch(2, 1)).await;
    assert_eq!(received(&socket, 6).len(), 6);
    assert_eq!((stage.carried(), stage.accounts("daemon")["sent"].as_u64()), (0, Some(6)));
}

#[tokio::test]
async fn outlets_fail_each_for_itself() {
    let (socket, address) = daemon();
    let mut stage = Stage::with(&[OutletKind::Xray, OutletKind::Daemon], &[], 1 << 20).await;
    learn(&stage, address);
    stage.xray.faults().add(&Fault::Hang, 1);
    stage.flush_within(batch(1, 5), SHORT).await;
    assert_eq!(received(&socket, 5).len(), 5);
    assert_eq!(stage.accounts("daemon")["sent"], 5);
    assert_eq!(stage.outlets.waiting_spans(), [(OutletKind::Xray, 5), (OutletKind::Daemon, 0)]);
    drop(socket);
    stage.flush(batch(2, 1)).await;
    assert_eq!((stage.sent(), stage.stored()), (6, 6));
    assert_eq!(stage.outlets.waiting_spans(), [(OutletKind::Xray, 0), (OutletKind::Daemon, 1)]);
}
