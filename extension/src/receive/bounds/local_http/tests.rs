use super::*;
use crate::log::test_log;
use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep};

const FREEZE: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);
const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";

/// Answers 200 to a body, 408 without one, and 413 to a path without having looked at it.
fn handler() -> Handler {
    Arc::new(|request| {
        Box::pin(async move {
            let mut response = Response::new(Full::new(Bytes::new()));
            if request.uri().path() == "/unread" {
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            } else if read_body(request, 100, None).await.is_err() {
                *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            }
            response
        })
    })
}

struct Client(DuplexStream);

impl Client {
    async fn connect(places: &Places) -> (Self, JoinHandle<()>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let place = places.take().await;
        (Self(theirs), tokio::spawn(serve_one(ours, place, handler())))
    }

    async fn alone() -> (Self, JoinHandle<()>) {
        Self::connect(&Places::new(1, IDLE_TIME)).await
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The status of the next answer, or 0 at the connection's end.
    async fn status(&mut self) -> u16 {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return 0,
            }
        }
        String::from_utf8_lossy(&head)[9..12].parse().unwrap()
    }

    async fn post(&mut self) -> u16 {
        self.send(POST).await;
        self.status().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_sends_every_five_seconds_loses_nothing() {
    let (mut client, _server) = Client::alone().await;
    for number in 0..50 {
        assert_eq!(client.post().await, 200, "request {number}");
        sleep(5 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn l_8_5_l_8_6_an_idle_connection_outlives_65_seconds_and_any_freeze() {
    let (mut client, server) = Client::alone().await;
    sleep(65 * SECOND).await;
    assert_eq!(client.post().await, 200, "before its first request");
    sleep(65 * SECOND).await;
    assert_eq!(client.post().await, 200);
    for number in 0..20 {
        advance(FREEZE).await;
        // A client in the same environment is thawed at the same time, and may be slower.
        sleep(SECOND).await;
        assert_eq!(client.post().await, 200, "freeze {number}");
    }
    client.send(POST).await;
    advance(FREEZE).await;
    assert_eq!(client.status().await, 200, "what arrived before the freeze");
    let begun = Instant::now();
    assert_eq!(client.status().await, 0, "it is closed at last");
    assert_eq!(begun.elapsed(), IDLE_TIME);
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_or_a_body_that_has_begun_has_five_seconds_awake() {
    for (cut, status) in [(20, 0), (POST.len() - 1, 408)] {
        let (mut client, _server) = Client::alone().await;
        client.send(&POST[..cut]).await;
        let begun = Instant::now();
        assert_eq!(client.status().await, status, "{cut}");
        assert_eq!(begun.elapsed(), HEADER_TIME, "{cut}");

        let (mut client, _server) = Client::alone().await;
        client.send(&POST[..cut]).await;
        sleep(SECOND).await;
        advance(FREEZE).await;
        sleep(SECOND).await;
        client.send(&POST[cut..]).await;
        assert_eq!(client.status().await, 200, "{cut}");
    }
    // A byte now and then buys no time.
    let (mut client, server) = Client::alone().await;
    for byte in &POST[..8] {
        let _ = client.0.write_all(&[*byte]).await;
        sleep(SECOND).await;
    }
    assert!(server.is_finished());
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_are_all_answered() {
    let (mut client, _server) = Client::alone().await;
    let many = POST.repeat(40);
    client.send(&many).await;
    client.send(&POST[..30]).await;
    for number in 0..40 {
        assert_eq!(client.status().await, 200, "{number}");
    }
    sleep(SECOND).await;
    client.send(&POST[30..]).await;
    assert_eq!(client.status().await, 200, "the one that had begun");
    assert_eq!(client.post().await, 200);
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_where_http_says_so() {
    let post = |version: &str, connection: &str, path: &str| {
        format!("POST {path} HTTP/{version}\r\nhost: x\r\n{connection}content-length: 4\r\n\r\n")
    };
    for (head, status, ends) in [
        (post("1.1", "", "/"), 200, false),
        (post("1.1", "Connection: Keep-Alive\r\n", "/"), 200, false),
        (post("1.1", "Connection: TE, Close\r\n", "/"), 200, true),
        (post("1.0", "", "/"), 200, true),
        (post("1.0", "connection: keep-alive\r\n", "/"), 200, false),
        (post("1.1", "", "/unread").replace("length: 4", "length: 5"), 413, true),
        ("BAD\r\n\r\n".to_owned(), 400, true),
    ] {
        let (mut client, _server) = Client::alone().await;
        client.send(head.as_bytes()).await;
        client.send(b"body").await;
        assert_eq!(client.status().await, status, "{head}");
        if ends {
            let begun = Instant::now();
            assert_eq!(client.status().await, 0, "{head}");
            assert!(begun.elapsed() < HEADER_TIME, "{head}");
        } else {
            assert_eq!(client.post().await, 200, "{head}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_makes_way_and_never_one_in_the_middle_of_a_request() {
    let places = Places::new(4, IDLE_TIME);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(&places).await.0);
    }
    for client in &mut clients {
        assert_eq!(client.post().await, 200);
    }
    clients[0].send(&POST[..20]).await;
    clients[1].send(&POST[..POST.len() - 1]).await;
    sleep(SECOND).await;
    let begun = Instant::now();
    let (mut newcomer, _server) = Client::connect(&places).await;
    assert_eq!(newcomer.post().await, 200);
    assert_eq!(clients[2].status().await, 0, "idle for longest");
    // What has arrived and has not been read yet counts too.
    clients[3].send(POST).await;
    let (mut second, _server) = Client::connect(&places).await;
    assert_eq!(second.post().await, 200);
    assert_eq!(newcomer.status().await, 0, "idle for longest by now");
    assert_eq!(clients[3].status().await, 200);
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
    clients[0].send(&POST[20..]).await;
    clients[1].send(&POST[POST.len() - 1..]).await;
    assert_eq!((clients[0].status().await, clients[1].status().await), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_for_no_client_that_has_stalled() {
    for most in [3, MAX_CONNECTIONS] {
        for cut in [20, POST.len() - 1] {
            let places = Places::new(most, IDLE_TIME);
            let begun = Instant::now();
            let mut stalled = Vec::new();
            // More than there are places, and than may be at work.
            for _ in 0..most + 100 {
                let (mut client, server) = Client::connect(&places).await;
                client.send(&POST[..cut]).await;
                tokio::task::yield_now().await;
                stalled.push((client, server));
            }
            let (mut newcomer, _server) = Client::connect(&places).await;
            assert_eq!(newcomer.post().await, 200, "{most} {cut}");
            assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited, {most} {cut}");
            // Who came last is still waited for.
            let (mut last, _server) = stalled.pop().unwrap();
            last.send(&POST[cut..]).await;
            assert_eq!(last.status().await, 200, "{most} {cut}");
            let ended = stalled.iter().filter(|(_, server)| server.is_finished()).count();
            assert!(ended >= 100, "{ended} of {most} {cut}");
            let mut first = stalled.swap_remove(0).0;
            assert_eq!(first.status().await, 0, "the longest stalled, {most} {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_from_a_stalled_client_counts_before_a_newcomer() {
    let places = Places::new(2, IDLE_TIME);
    let (mut first, _one) = Client::connect(&places).await;
    let (mut second, _two) = Client::connect(&places).await;
    first.send(&POST[..POST.len() - 1]).await;
    sleep(SECOND).await;
    second.send(&POST[..POST.len() - 1]).await;
    sleep(SECOND).await;
    first.send(&POST[POST.len() - 1..]).await;
    let (mut newcomer, _three) = Client::connect(&places).await;
    assert_eq!((first.status().await, newcomer.post().await), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_cut_off_while_it_is_worked_for() {
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&go);
    let handler: Handler = Arc::new(move |request| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            let _ = read_body(request, 100, None).await;
            let _turn = gate.acquire().await;
            Response::new(Full::new(Bytes::new()))
        })
    });
    let places = Places::new(MAX_CONNECTIONS, IDLE_TIME);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(serve_one(ours, places.take().await, Arc::clone(&handler)));
        let mut client = Client(theirs);
        client.send(POST).await;
        clients.push(client);
    }
    sleep(10 * SECOND).await;
    go.add_permits(1);
    for client in &mut clients {
        assert_eq!(client.status().await, 200);
    }
}

#[tokio::test]
async fn more_idle_clients_than_there_are_places_lock_nobody_out() {
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let log = test_log::capture(Level::Debug).0;
    tokio::spawn(serve(listener, |_| true, handler(), log));
    let mut clients = Vec::new();
    for number in 0..MAX_CONNECTIONS + 10 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(POST).await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "client {number}");
        clients.push(client);
    }
    for client in &mut clients[..10] {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn sim_21_a_client_that_never_reads_its_answers_is_cut_off() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let handler: Handler =
        Arc::new(|_| Box::pin(async { Response::new(Full::new(Bytes::from(vec![b'a'; 512]))) }));
    let client = tokio::spawn(async move {
        let mut requests = 0;
        while theirs.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {
            requests += 1;
        }
        requests
    });
    let begun = Instant::now();
    serve_one(ours, Places::new(1, IDLE_TIME).take().await, handler).await;
    assert!(begun.elapsed() >= ANSWER_TIME, "it had its time");
    assert!(begun.elapsed() < ANSWER_TIME * 2, "{:?}", begun.elapsed());
    assert!(client.await.unwrap() > 2, "it sent as long as anybody took it");
}
