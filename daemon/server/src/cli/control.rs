//! Orders to a running daemon, over its control socket.

use std::path::Path;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::client;
use crate::config::Config;
use crate::web::control::SOCKET;

/// Sends an order; the status and the JSON of the answer.
pub(super) async fn order(
    config: &Config,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Value)> {
    let socket = config.store.dir.join(SOCKET);
    let (status, body) = send(&socket, method, path, body).await.with_context(|| {
        format!(
            "{}: no daemon answers; `helpline serve` with the same configuration has to run, and this user has to be allowed to write there",
            socket.display()
        )
    })?;
    if status == 503 {
        bail!("the daemon cannot store it now; try again");
    }
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Bytes)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "control")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(
            body.map_or_else(String::new, |body| body.to_string()),
        )))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = client::whole(answer.into_body()).await?;
    connection.abort();
    Ok((status, body))
}
