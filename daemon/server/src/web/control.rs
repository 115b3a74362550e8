//! The operator's door: HTTP over a Unix socket in the store's folder. Whoever may write
//! there may use it; nobody else can reach it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use helpline_core::agent::Wish;
use helpline_core::id::{MailInId, RequestId};
use helpline_core::phone::PhoneNumber;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::desk::{AgentOrdered, Desk, Ordered, StoreError};

/// Name of the socket.
pub const SOCKET: &str = "control.sock";

/// A number to block.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// E.164.
    pub number: String,
    /// For ever without it.
    pub seconds: Option<u64>,
}

/// Binds the socket; an old one in its place is removed.
///
/// # Errors
/// The folder cannot be written.
pub fn bind(folder: &Path) -> std::io::Result<UnixListener> {
    let path = folder.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `end`.
pub async fn serve(listener: UnixListener, desk: Arc<Desk>, end: CancellationToken) {
    let router = Router::new()
        .route("/requests/{id}/cancel", post(cancel))
        .route("/requests/{id}/retry", post(retry))
        .route("/mail/{id}/retry", post(retry_mail))
        .route("/agents", get(agents))
        .route("/agents/{name}/{state}", post(set_agent))
        .route("/numbers", post(block))
        .route("/numbers/{number}", delete(unblock))
        .with_state(desk);
    let served = axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned());
    if let Err(error) = served.await {
        tracing::warn!(%error, "the control socket ended");
    }
}

async fn cancel(State(desk): State<Arc<Desk>>, Segment(id): Segment<String>) -> Response {
    ordered(desk.withdraw(&RequestId::from_text(&id)).await)
}

async fn retry(State(desk): State<Arc<Desk>>, Segment(id): Segment<String>) -> Response {
    ordered(desk.hasten(&RequestId::from_text(&id)).await)
}

async fn retry_mail(State(desk): State<Arc<Desk>>, Segment(id): Segment<String>) -> Response {
    match desk.retry_mail(&MailInId::from_text(&id)).await {
        Ok(true) => Json(json!({})).into_response(),
        Ok(false) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

fn ordered(done: Result<Ordered, StoreError>) -> Response {
    let (status, state) = match done {
        Ok(Ordered::Done(state)) => (StatusCode::OK, state.word()),
        Ok(Ordered::Meaningless(state)) => (StatusCode::CONFLICT, state.word()),
        Ok(Ordered::NotFound) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => return unavailable(&error),
    };
    (status, Json(json!({ "state": state }))).into_response()
}

async fn agents(State(desk): State<Arc<Desk>>) -> Response {
    match desk.agents().await {
        Ok(agents) => Json(agents).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn set_agent(
    State(desk): State<Arc<Desk>>,
    Segment((name, state)): Segment<(String, String)>,
) -> Response {
    let Some(wish) = Wish::from_word(&state) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    match desk.set_agent(&name, wish).await {
        Ok(AgentOrdered::Done(state)) => Json(json!({ "state": state.word() })).into_response(),
        Ok(AgentOrdered::NoPhone) => StatusCode::CONFLICT.into_response(),
        Ok(AgentOrdered::NotFound) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn block(State(desk): State<Arc<Desk>>, Json(block): Json<Block>) -> Response {
    let Ok(number) = PhoneNumber::parse(&block.number, None) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let period = block.seconds.map(Duration::from_secs);
    match desk.block(&number, period).await {
        Ok(ended) => Json(json!({ "ended": ended })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn unblock(State(desk): State<Arc<Desk>>, Segment(number): Segment<String>) -> Response {
    let Ok(number) = PhoneNumber::parse(&number, None) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    match desk.unblock(&number).await {
        Ok(true) => Json(json!({})).into_response(),
        Ok(false) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &StoreError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}
