//! The style sheet, the script and the icon: compiled in, addressed by content, cached for ever.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "ironhatch.css",
        kind: "text/css; charset=utf-8",
        content: include_str!("../../templates/assets/ironhatch.css"),
    },
    Asset {
        name: "ironhatch.js",
        kind: "text/javascript; charset=utf-8",
        content: include_str!("../../templates/assets/ironhatch.js"),
    },
    Asset {
        name: "icon.svg",
        kind: "image/svg+xml",
        content: include_str!("../../templates/assets/icon.svg"),
    },
];

/// Addresses of the assets, with the hash of their content inside. A constant in effect: computed from the binary.
static LINKS: LazyLock<[String; 3]> =
    LazyLock::new(|| ASSETS.map(|asset| format!("/assets/{}/{}", hash(asset.content), asset.name)));

fn hash(content: &str) -> String {
    Sha256::digest(content).iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// Address of the style sheet.
pub(super) fn style() -> &'static str {
    &LINKS[0]
}

/// Address of the script.
pub(super) fn script() -> &'static str {
    &LINKS[1]
}

/// Address of the icon.
pub(super) fn icon() -> &'static str {
    &LINKS[2]
}

/// Routes of the assets; they need no login.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{hash}/{name}", get(serve))
}

async fn serve(Path((given, name)): Path<(String, String)>) -> Response {
    let found = ASSETS.iter().find(|asset| asset.name == name && hash(asset.content) == given);
    match found {
        Some(asset) => (
            [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            asset.content,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
