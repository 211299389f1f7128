//! The floor: an extension that registers and asks for events with hyper, and does nothing else.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<()> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API").context("AWS_LAMBDA_RUNTIME_API is not set")?;
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(&address).await?)).await?;
    tokio::spawn(connection);
    let register = Request::post("/2020-01-01/extension/register")
        .header("host", &address)
        .header("Lambda-Extension-Name", "bare-hyper")
        .body(Full::from(r#"{"events":["INVOKE","SHUTDOWN"]}"#))?;
    let registered = sender.send_request(register).await?;
    let id = registered.headers()["lambda-extension-identifier"].to_str()?.to_owned();
    registered.into_body().collect().await?;
    while next(&mut sender, &address, &id).await?["eventType"] != "SHUTDOWN" {}
    Ok(())
}

async fn next(sender: &mut SendRequest<Full<Bytes>>, address: &str, id: &str) -> Result<serde_json::Value> {
    let request = Request::get("/2020-01-01/extension/event/next")
        .header("host", address)
        .header("Lambda-Extension-Identifier", id)
        .body(Full::default())?;
    let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}
