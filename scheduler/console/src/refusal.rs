//! Pages that cannot be shown, and why.

use crate::page::{bare, encoded};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::html;
use tonic::{Code, Status};

/// Why there is no page.
pub enum Refusal {
    /// Nobody is signed in; this path was asked for.
    SignIn(String),
    /// The API said no, or did not answer.
    Api(Status),
    /// A form without the session's own mark.
    ForeignForm,
    /// As many live logs as this node takes.
    TooManyLogs,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::SignIn(back) => Redirect::to(&format!("/sign-in?next={}", encoded(&back))).into_response(),
            Refusal::Api(status) => api(&status),
            Refusal::ForeignForm => error(
                StatusCode::FORBIDDEN,
                "This form has grown old",
                "It was made for another session, so nothing was done. Go back, reload the page and try again.",
            ),
            Refusal::TooManyLogs => error(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many live logs",
                "This console shows as many live logs as it can. The page without a live log shows what there is on each reload.",
            ),
        }
    }
}

fn api(status: &Status) -> Response {
    let (code, title) = match status.code() {
        Code::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "Not allowed"),
        Code::InvalidArgument | Code::FailedPrecondition => (StatusCode::CONFLICT, "That cannot be done"),
        Code::Unavailable | Code::Unknown | Code::DeadlineExceeded => (StatusCode::SERVICE_UNAVAILABLE, "The platform does not answer"),
        _ => (StatusCode::BAD_GATEWAY, "The platform failed"),
    };
    let text = match code {
        StatusCode::SERVICE_UNAVAILABLE => {
            tracing::warn!(%status, "the API does not answer the console");
            "Its control plane starts or changes hands. Sites run on meanwhile. Reload this page in a moment."
        }
        _ if status.message().is_empty() => "There is no more to say about it.",
        _ => status.message(),
    };
    error(code, title, text)
}

fn error(code: StatusCode, title: &str, text: &str) -> Response {
    let body = html! {
        section.lonely {
            h1 { (title) }
            p { (text) }
            p { a.button href="/projects" { "All projects" } }
        }
    };
    (code, Html(bare(title, &body).into_string())).into_response()
}

pub async fn no_page() -> Response {
    error(StatusCode::NOT_FOUND, "There is no such page", "The address may be mistyped, or what it named is gone.")
}
