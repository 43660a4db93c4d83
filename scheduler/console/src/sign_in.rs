//! Signing in with a token, and out.

use crate::House;
use crate::page::{bare, encoded};
use crate::refusal::Refusal;
use crate::session::{is_same, random};
use crate::visitor::{COOKIE, Visitor, client, cookie};
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;
use slipway_proto::api::Empty;

/// Marks the sign-in form of one browser before there is a session.
const VISIT_COOKIE: &str = "slipway_visit";
/// No token of ours is longer.
const TOKEN_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
pub struct Asked {
    next: Option<String>,
}

#[derive(Deserialize)]
pub struct SignIn {
    csrf: String,
    token: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct SignOut {
    csrf: String,
}

pub async fn show(Query(asked): Query<Asked>) -> Response {
    form(StatusCode::OK, &own_path(asked.next.as_deref().unwrap_or_default()), "")
}

pub async fn sign_in(State(house): State<House>, headers: HeaderMap, Form(form_data): Form<SignIn>) -> Result<Response, Refusal> {
    let visit = cookie(&headers, VISIT_COOKIE).unwrap_or_default();
    if visit.is_empty() || !is_same(&form_data.csrf, visit) {
        return Err(Refusal::ForeignForm);
    }
    let next = own_path(&form_data.next);
    let token = form_data.token.trim();
    let wrong = "This token opens nothing here: it is mistyped, or was revoked.";
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Ok(form(StatusCode::UNAUTHORIZED, &next, wrong));
    }
    let Ok(mut api) = client(&house, token) else { return Ok(form(StatusCode::UNAUTHORIZED, &next, wrong)) };
    let who = match api.who_am_i(Empty {}).await {
        Ok(who) => who.into_inner(),
        Err(status) if status.code() == tonic::Code::Unauthenticated => return Ok(form(StatusCode::UNAUTHORIZED, &next, wrong)),
        Err(status) => return Err(Refusal::Api(status)),
    };
    if let Some(former) = cookie(&headers, COOKIE) {
        house.sessions.end(former);
    }
    let session = house.sessions.begin(token.to_string(), who.user, who.admin);
    let cookies = [(header::SET_COOKIE, set_cookie(COOKIE, &session.id)), (header::SET_COOKIE, ended_cookie(VISIT_COOKIE))];
    Ok((axum::response::AppendHeaders(cookies), Redirect::to(&next)).into_response())
}

pub async fn sign_out(State(house): State<House>, visitor: Visitor, Form(form_data): Form<SignOut>) -> Result<Response, Refusal> {
    visitor.check_form(&form_data.csrf)?;
    house.sessions.end(&visitor.session.id);
    Ok(([(header::SET_COOKIE, ended_cookie(COOKIE))], Redirect::to("/sign-in")).into_response())
}

fn form(code: StatusCode, next: &str, error: &str) -> Response {
    let visit = random();
    let body = html! {
        section.sign-in {
            h1 { "Sign in" }
            p.soft { "With a token of the platform." }
            form action="/sign-in" method="post" {
                input type="hidden" name="csrf" value=(visit);
                input type="hidden" name="next" value=(next);
                label for="token" { "Token" }
                input id="token" name="token" type="password" autocomplete="current-password" required autofocus
                    aria-describedby=[(!error.is_empty()).then_some("token-error")] aria-invalid=[(!error.is_empty()).then_some("true")];
                @if !error.is_empty() { p.error id="token-error" role="alert" { (error) } }
                button type="submit" { "Sign in" }
            }
            details {
                summary { "Where do I get one?" }
                p { "On the platform's machine the first one lies in " code { "secrets/admin.token" } " of its data folder. Who has one makes others:" }
                pre { "slipway token create --title browser" }
            }
        }
    };
    (code, [(header::SET_COOKIE, set_cookie(VISIT_COOKIE, &visit))], Html(bare("Sign in", &body).into_string())).into_response()
}

fn set_cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict")
}

fn ended_cookie(name: &str) -> String {
    format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// Only a path of ours: nobody is sent elsewhere by a link to the sign-in page.
fn own_path(next: &str) -> String {
    let own = next.starts_with('/') && !next.starts_with("//") && next.chars().all(|c| c != '\\' && !c.is_control());
    if !own || next.starts_with("/sign-in") {
        return "/projects".into();
    }
    next.split('/').map(|part| encoded(&decoded(part))).collect::<Vec<_>>().join("/")
}

/// A part of a path, so that encoding it again changes nothing.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let byte = more.get(..2).filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn after_signing_in_nobody_is_sent_elsewhere() {
        for (next, path) in [
            ("/activities/act-1", "/activities/act-1"),
            ("/projects/shop/environments/a%2Fb", "/projects/shop/environments/a%2Fb"),
            ("//evil.example", "/projects"),
            ("/\\evil.example", "/projects"),
            ("https://evil.example", "/projects"),
            ("/a\r\nSet-Cookie: x", "/projects"),
            ("", "/projects"),
            ("/sign-in", "/projects"),
        ] {
            assert_eq!(own_path(next), path, "{next:?}");
        }
    }
}
