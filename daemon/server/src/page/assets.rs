//! Files that pages load, under an address that changes with their content, so that a
//! browser may keep them for ever.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../web/css"]
struct Assets;

/// The address of an asset: `/assets/{hash}/{name}`.
pub(super) fn href(name: &str) -> String {
    let hash = Assets::get(name).map(|file| short_hash(&file));
    format!("/assets/{}/{name}", hash.unwrap_or_default())
}

fn short_hash(file: &rust_embed::EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    HEXLOWER.encode(hash.get(..8).unwrap_or(&hash))
}

/// Serves `/assets/{hash}/{name}`.
pub fn assets() -> Router {
    Router::new().route("/assets/{hash}/{name}", get(asset))
}

async fn asset(Path((hash, name)): Path<(String, String)>) -> Response {
    let kind = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match Assets::get(&name).filter(|file| short_hash(file) == hash) {
        Some(file) => (
            [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            file.data,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn only_the_right_hash_is_served() {
        let get = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assets().oneshot(request).await.unwrap().status()
        };
        assert_eq!(get(&href("helpline.css")).await, StatusCode::OK);
        assert_eq!(get("/assets/0/helpline.css").await, StatusCode::NOT_FOUND);
        assert_eq!(
            get("/assets/0/..%2f..%2fCargo.toml").await,
            StatusCode::NOT_FOUND
        );
    }
}
