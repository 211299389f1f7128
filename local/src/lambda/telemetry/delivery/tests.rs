use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;

/// A listener that answers what it is told, once it may, and keeps the batches.
struct Listener {
    port: u16,
    batches: Arc<Mutex<Vec<Vec<Value>>>>,
    statuses: Arc<Mutex<VecDeque<u16>>>,
    may_answer: Arc<Semaphore>,
}

impl Listener {
    async fn start(answers: usize) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = Self {
            port: socket.local_addr().unwrap().port(),
            batches: Arc::default(),
            statuses: Arc::default(),
            may_answer: Arc::new(Semaphore::new(answers)),
        };
        let (batches, statuses, may_answer) =
            (listener.batches.clone(), listener.statuses.clone(), listener.may_answer.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (batches, statuses, may_answer) = (batches.clone(), statuses.clone(), may_answer.clone());
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (batches, statuses, may_answer) =
                        (batches.clone(), statuses.clone(), may_answer.clone());
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        batches.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                        may_answer.acquire().await.unwrap().forget();
                        let status = statuses.lock().unwrap().pop_front().unwrap_or(200);
                        let mut response = http::Response::new(Full::new(Bytes::new()));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok::<_, hyper::Error>(response)
                    }
                });
                tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        listener
    }

    /// The numbers of the records of each batch, and `-1` for one of the platform.
    fn numbers(&self) -> Vec<Vec<i64>> {
        let number = |record: &Value| record["record"].as_i64().unwrap_or(-1);
        self.batches.lock().unwrap().iter().map(|batch| batch.iter().map(number).collect()).collect()
    }

    async fn has_batches(&self, count: usize) {
        let wait = async {
            while self.batches.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    }
}

struct Sender {
    commands: mpsc::Sender<Command>,
    frozen: watch::Sender<bool>,
    log: EventLog,
}

impl Sender {
    /// A subscriber with these limits; a `timeout` of an hour never comes.
    fn new(
        listener: &Listener,
        items: usize,
        bytes: usize,
        timeout_ms: u64,
        faults: TelemetryFaults,
    ) -> Self {
        let (frozen, log) = (watch::Sender::new(false), EventLog::new());
        let subscription = Subscription {
            kinds: BTreeSet::from([Kind::Platform, Kind::Function]),
            max_items: items,
            max_bytes: bytes,
            timeout: Duration::from_millis(timeout_ms),
            port: listener.port,
            path: "/".to_owned(),
        };
        let (commands, inbox) = mpsc::channel(1_000);
        let delivery = Delivery {
            extension: "collector".to_owned(),
            subscription,
            faults,
            frozen: frozen.subscribe(),
            log: log.clone(),
        };
        tokio::spawn(delivery.run(inbox));
        Self { commands, frozen, log }
    }

    async fn send(&self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let record = Record::new(Kind::Function, SystemTime::now(), "function", &json!(number));
            self.commands.send(Command::Record(Arc::new(record))).await.unwrap();
        }
    }

    async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        self.commands.send(Command::Flush(done)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), flushed).await.unwrap().unwrap();
    }
}

const HOUR_MS: u64 = 3_600_000;
const NO_LIMIT: usize = usize::MAX;
const NO_FAULTS: TelemetryFaults = TelemetryFaults { duplicated: false, reversed: false, padding_bytes: 0 };

#[tokio::test]
async fn sim_14_each_of_the_three_limits_sends_a_batch() {
    let size = Record::new(Kind::Function, SystemTime::now(), "function", &json!(1)).json.len();
    for (items, bytes, timeout_ms) in
        [(3, NO_LIMIT, HOUR_MS), (NO_LIMIT, 3 * size, HOUR_MS), (NO_LIMIT, NO_LIMIT, 300)]
    {
        let listener = Listener::start(100).await;
        let sender = Sender::new(&listener, items, bytes, timeout_ms, NO_FAULTS);
        sender.send(0..3).await;
        listener.has_batches(1).await;
        assert_eq!(listener.numbers(), [[0, 1, 2]], "{items} {bytes} {timeout_ms}");
    }
}

#[tokio::test]
async fn sim_14_a_flush_sends_what_waits() {
    let listener = Listener::start(100).await;
    let sender = Sender::new(&listener, NO_LIMIT, NO_LIMIT, HOUR_MS, NO_FAULTS);
    sender.flush().await;
    assert_eq!(listener.numbers(), Vec::<Vec<i64>>::new(), "nothing waits");
    sender.send(0..2).await;
    sender.flush().await;
    assert_eq!(listener.numbers(), [[0, 1]]);
}

#[tokio::test]
async fn sim_14_one_batch_is_in_flight_the_next_collects_and_the_rest_is_dropped_and_counted() {
    let listener = Listener::start(0).await;
    let sender = Sender::new(&listener, 2, NO_LIMIT, HOUR_MS, NO_FAULTS);
    sender.send(0..2).await;
    listener.has_batches(1).await;
    sender.send(2..7).await;
    // All of them have been seen before the listener answers.
    while sender.commands.capacity() < sender.commands.max_capacity() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    listener.may_answer.add_permits(100);
    sender.flush().await;
    assert_eq!(listener.numbers(), [vec![0, 1], vec![2, 3, -1]]);
    let dropped = listener.batches.lock().unwrap()[1][2].clone();
    assert_eq!(dropped["type"], "platform.logsDropped");
    assert_eq!(dropped["record"]["droppedRecords"], 3);
    assert!(dropped["record"]["droppedBytes"].as_u64().unwrap() > 60);
}

#[tokio::test]
async fn sim_14_a_refused_batch_is_tried_again_and_then_dropped() {
    let listener = Listener::start(100).await;
    listener.statuses.lock().unwrap().extend([500, 400]);
    let sender = Sender::new(&listener, 2, NO_LIMIT, HOUR_MS, NO_FAULTS);
    sender.send(0..2).await;
    sender.flush().await;
    assert_eq!(listener.numbers(), [[0, 1]; 3]);
    let statuses = |log: &EventLog| -> Vec<Option<u16>> {
        let status =
            |event| if let Event::TelemetryBatch { status, .. } = event { Some(status) } else { None };
        log.entries().into_iter().filter_map(|entry| status(entry.event)).collect()
    };
    assert_eq!(statuses(&sender.log), [Some(500), Some(400), Some(200)]);

    listener.statuses.lock().unwrap().extend([500; 4]);
    sender.send(2..4).await;
    sender.flush().await;
    assert_eq!(listener.numbers()[3..], [vec![2, 3], vec![2, 3], vec![2, 3], vec![2, 3], vec![-1]]);
    assert_eq!(listener.batches.lock().unwrap()[7][0]["record"]["droppedRecords"], 2);
}

#[tokio::test]
async fn sim_14_nothing_is_delivered_while_frozen() {
    let listener = Listener::start(100).await;
    let sender = Sender::new(&listener, NO_LIMIT, NO_LIMIT, 25, NO_FAULTS);
    sender.frozen.send_replace(true);
    sender.send(0..2).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(listener.numbers(), Vec::<Vec<i64>>::new());
    sender.frozen.send_replace(false);
    listener.has_batches(1).await;
    assert_eq!(listener.numbers(), [[0, 1]]);
}

#[tokio::test]
async fn sim_21_batches_come_twice_backwards_and_large() {
    let listener = Listener::start(100).await;
    let faults = TelemetryFaults { duplicated: true, reversed: true, padding_bytes: 1_000_000 };
    let sender = Sender::new(&listener, 3, NO_LIMIT, HOUR_MS, faults);
    sender.send(0..3).await;
    sender.flush().await;
    assert_eq!(listener.numbers(), [[-1, 2, 1, 0]; 2]);
    let padding = listener.batches.lock().unwrap()[0][0].clone();
    assert_eq!(padding["record"]["padding"].as_str().map(str::len), Some(1_000_000));
}
