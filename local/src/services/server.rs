//! One address for all of the services: takes a request, and hands it to the service that it is for.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::call::{Call, Reply, reply};
use super::queue::Queue;
use super::resources::Resources;
use super::{event_source, invoke, sqs, sqs_query};
use crate::lambda::LambdaEnvironment;

const CONNECTION_LIMIT: usize = 256;
/// Lambda's limit for an event (section 2).
const BODY_LIMIT_BYTES: usize = 6 * 1024 * 1024;

/// The running services. Dropping them closes the port and ends the event sources.
#[derive(Debug)]
pub struct LocalServices {
    resources: Arc<Resources>,
    tasks: JoinSet<()>,
}

impl LocalServices {
    /// Listens on an ephemeral port of the loopback address; functions and queues are added afterwards.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let resources = Arc::new(Resources::new(address));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, resources.clone()));
        Ok(Self { resources, tasks })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.resources.address)
    }

    /// What a function's configuration needs so that its SDK finds the services.
    pub fn variables(&self) -> [(String, String); 2] {
        ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL_SQS"].map(|name| (name.to_owned(), self.url()))
    }

    /// From now on the function can be invoked by this name.
    pub fn add_function(&self, name: &str, environment: Arc<LambdaEnvironment>) {
        self.resources.add_function(name, environment);
    }

    /// Makes a queue, or finds the one of that name; returns it and its URL.
    pub fn add_queue(&self, name: &str) -> (Queue, String) {
        (self.resources.add_queue(name), self.resources.queue_url(name))
    }

    /// An event source mapping: the queue's messages are given to the function, up to `batch_size` at once.
    pub fn connect(&mut self, queue: &Queue, function: Arc<LambdaEnvironment>, batch_size: usize) {
        self.tasks.spawn(event_source::run(queue.clone(), function, batch_size.max(1)));
    }
}

async fn accept(listener: TcpListener, resources: Arc<Resources>) {
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
        let resources = resources.clone();
        connections.spawn(async move {
            serve(stream, resources).await;
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, resources: Arc<Resources>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let resources = resources.clone();
        async move { Ok::<_, Infallible>(answer(&resources, request).await) }
    });
    // A client that goes away in the middle of an exchange is its own affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(resources: &Arc<Resources>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT_BYTES).collect().await else {
        return reply(413, &[], "the body is too large, or ended early");
    };
    let path = head.uri.path().to_owned();
    let call = Call { method: head.method, path, headers: head.headers, body: body.to_bytes() };
    if call.path.starts_with(invoke::PREFIX) {
        return invoke::answer(resources, &call).await;
    }
    match call.header("x-amz-target").and_then(|target| target.strip_prefix("AmazonSQS.")) {
        Some(operation) => sqs::answer(resources, &call, operation).await,
        None => sqs_query::answer(resources, &call),
    }
}
