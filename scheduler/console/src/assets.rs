//! The one stylesheet and the one script, part of the binary.

use axum::http::header;
use axum::response::{IntoResponse, Response};

pub const STYLE_PATH: &str = concat!("/static/", env!("CARGO_PKG_VERSION"), "/style.css");
pub const SCRIPT_PATH: &str = concat!("/static/", env!("CARGO_PKG_VERSION"), "/live.js");

/// Short, so that a new build of one version is seen; the files are small and near.
const CACHE: &str = "private, max-age=60";

pub async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, CACHE)], include_str!("style.css")).into_response()
}

pub async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, CACHE)], include_str!("live.js")).into_response()
}
