//! One address for all of the services.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::queue::Queue;
use super::{event_source, invoke, sqs, sqs_query};
use crate::lambda::LambdaEnvironment;

const CONNECTION_LIMIT: usize = 256;
/// Lambda's limit for an event (section 2).
const BODY_LIMIT_BYTES: usize = 6 * 1024 * 1024;
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";

/// A request whose body has been read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(super) type Reply = Response<Full<Bytes>>;

/// A reply with this body and these headers.
pub(super) fn reply(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            reply.headers_mut().insert(*name, value);
        }
    }
    reply
}

/// What the services know of.
#[derive(Debug)]
pub(super) struct World {
    address: SocketAddr,
    functions: RwLock<BTreeMap<String, Arc<LambdaEnvironment>>>,
    queues: RwLock<BTreeMap<String, Queue>>,
}

impl World {
    pub(super) fn function(&self, name: &str) -> Option<Arc<LambdaEnvironment>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn queue(&self, name: &str) -> Option<Queue> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn queue_url(&self, name: &str) -> String {
        format!("http://{}/{ACCOUNT}/{name}", self.address)
    }

    pub(super) fn queue_arn(name: &str) -> String {
        format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
    }

    pub(super) fn region() -> &'static str {
        REGION
    }
}

/// The running services. Dropping them closes the port and ends the event sources.
#[derive(Debug)]
pub struct LocalServices {
    world: Arc<World>,
    tasks: JoinSet<()>,
}

impl LocalServices {
    /// Listens on an ephemeral port of the loopback address; functions and queues are added afterwards.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World { address, functions: RwLock::default(), queues: RwLock::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, world.clone()));
        Ok(Self { world, tasks })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.world.address)
    }

    /// What a function's configuration needs so that its SDK finds the services.
    pub fn variables(&self) -> [(String, String); 2] {
        ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL_SQS"].map(|name| (name.to_owned(), self.url()))
    }

    /// From now on the function can be invoked by this name.
    pub fn add_function(&self, name: &str, environment: Arc<LambdaEnvironment>) {
        let mut functions = self.world.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.insert(name.to_owned(), environment);
    }

    /// Makes a queue, or finds the one of that name; returns it and its URL.
    pub fn add_queue(&self, name: &str) -> (Queue, String) {
        let mut queues = self.world.queues.write().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(name.to_owned()).or_insert_with(|| Queue::new(name)).clone();
        (queue, self.world.queue_url(name))
    }

    /// An event source mapping: the queue's messages are given to the function, up to `batch_size` at once.
    pub fn connect(&mut self, queue: &Queue, function: Arc<LambdaEnvironment>, batch_size: usize) {
        self.tasks.spawn(event_source::run(queue.clone(), function, batch_size.max(1)));
    }
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: asking again at once would only burn time.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let world = world.clone();
        connections.spawn(async move {
            serve(stream, world).await;
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, world: Arc<World>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let world = world.clone();
        async move { Ok::<_, Infallible>(answer(&world, request).await) }
    });
    // A client that goes away in the middle of an exchange is its own affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(world: &Arc<World>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT_BYTES).collect().await else {
        return reply(413, &[], "the body is too large, or ended early");
    };
    let path = head.uri.path().to_owned();
    let call = Call { method: head.method, path, headers: head.headers, body: body.to_bytes() };
    if call.path.starts_with(invoke::PREFIX) {
        return invoke::answer(world, &call).await;
    }
    match call.header("x-amz-target").and_then(|target| target.strip_prefix("AmazonSQS.")) {
        Some(operation) => sqs::answer(world, &call, operation).await,
        None => sqs_query::answer(world, &call),
    }
}
