//! Keys, tokens and who one is.

use super::caller::{Caller, name};
use super::times::rfc3339;
use super::{Api, parse};
use crate::chance;
use crate::office::token_digest;
use sha2::{Digest, Sha256};
use slipway_core::Command;
use slipway_core::state::{Key, Role, Token};
use slipway_proto::api;
use tonic::Status;

/// A title is shown in lists: a line, not a letter.
const TITLE_MAX: usize = 200;

impl Caller {
    pub(super) fn principal(&self) -> api::Principal {
        let roles = self.roles.iter().map(|(project, role)| (project.to_string(), name(*role).to_string())).collect();
        api::Principal { user: self.user.clone(), admin: self.admin, roles }
    }
}

/// `type base64` of an OpenSSH one-line key, with its SHA-256 fingerprint.
fn public_key(line: &str) -> Result<(String, String), Status> {
    let wrong = || {
        Status::invalid_argument("this is no OpenSSH public key: give the one line of a `.pub` file, `ssh-ed25519 AAAA…`")
    };
    let mut words = line.split_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else { return Err(wrong()) };
    const KINDS: [&str; 7] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    if !KINDS.contains(&kind) || body.len() > 4096 {
        return Err(wrong());
    }
    let bytes = data_encoding::BASE64.decode(body.as_bytes()).map_err(|_| wrong())?;
    // The body begins with its own type's name: a key pasted by halves does not.
    let named = bytes.get(4..4 + kind.len()).is_some_and(|n| n == kind.as_bytes());
    if !named {
        return Err(wrong());
    }
    let fingerprint = format!("SHA256:{}", data_encoding::BASE64_NOPAD.encode(&Sha256::digest(&bytes)));
    Ok((format!("{kind} {body}"), fingerprint))
}

impl Api {
    pub(super) fn authenticate_key(&self, caller: &Caller, line: &str) -> Result<api::Principal, Status> {
        caller.node_only()?;
        let (key, _) = public_key(line)?;
        let user = self.office.read(|state| state.keys.values().find(|k| k.public_key == key).map(|k| k.user.clone()));
        user.and_then(|u| self.by_user(&u)).map(|c| c.principal()).ok_or_else(|| {
            Status::unauthenticated("this key is not known here; add it with `slipway key add`")
        })
    }

    pub(super) fn authenticate_token(&self, caller: &Caller, token: &str) -> Result<api::Principal, Status> {
        caller.node_only()?;
        self.by_token(token)
            .map(|c| c.principal())
            .ok_or_else(|| Status::unauthenticated("the token is unknown or was revoked"))
    }

    /// The user a request is about: the caller, or another one if the caller is an admin.
    fn owner(caller: &Caller, user: String) -> Result<String, Status> {
        if user.is_empty() || user == caller.user {
            return Ok(caller.user.clone());
        }
        caller.platform_admin()?;
        let fine = user.len() <= 64 && user.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
        if fine { Ok(user) } else { Err(Status::invalid_argument("a user name is at most 64 of a-z A-Z 0-9 - _ . @")) }
    }

    pub(super) async fn add_key(&self, caller: &Caller, ask: api::AddKeyRequest) -> Result<api::Key, Status> {
        let (public_key, fingerprint) = public_key(&ask.public_key)?;
        let key = Key {
            title: ask.title.chars().take(TITLE_MAX).collect(),
            user: Self::owner(caller, ask.user)?,
            public_key,
            fingerprint,
            created_at: chance::now_ms(),
        };
        let id = format!("key-{}", chance::word(10));
        self.ask(Command::AddKey { id: id.clone(), key: key.clone() }).await?;
        Ok(key_message(&id, &key))
    }

    pub(super) fn list_keys(&self, caller: &Caller) -> api::KeyList {
        let keys = self.office.read(|state| {
            let mine = state.keys.iter().filter(|(_, k)| caller.admin || k.user == caller.user);
            mine.map(|(id, key)| key_message(id, key)).collect()
        });
        api::KeyList { keys }
    }

    pub(super) async fn remove_key(&self, caller: &Caller, id: String) -> Result<api::Empty, Status> {
        let user = (!caller.admin).then(|| caller.user.clone());
        self.ask(Command::RemoveKey { id, user }).await?;
        Ok(api::Empty {})
    }

    pub(super) async fn create_token(&self, caller: &Caller, ask: api::CreateTokenRequest) -> Result<api::Token, Status> {
        let user = Self::owner(caller, ask.user)?;
        if ask.admin {
            caller.platform_admin()?;
            self.ask(Command::PutUser { user: user.clone(), admin: true }).await?;
        }
        let secret = format!("slt-{}", chance::word(40));
        let token = Token {
            title: ask.title.chars().take(TITLE_MAX).collect(),
            user: user.clone(),
            digest: token_digest(&secret),
            created_at: chance::now_ms(),
        };
        let id = format!("tok-{}", chance::word(10));
        self.ask(Command::AddToken { id: id.clone(), token: token.clone() }).await?;
        Ok(api::Token { id, title: token.title, user, secret, created_at: rfc3339(token.created_at) })
    }

    pub(super) fn list_tokens(&self, caller: &Caller) -> api::TokenList {
        let tokens = self.office.read(|state| {
            let mine = state.tokens.iter().filter(|(_, t)| caller.admin || t.user == caller.user);
            mine.map(|(id, t)| api::Token {
                id: id.clone(),
                title: t.title.clone(),
                user: t.user.clone(),
                secret: String::new(),
                created_at: rfc3339(t.created_at),
            })
            .collect()
        });
        api::TokenList { tokens }
    }

    pub(super) async fn revoke_token(&self, caller: &Caller, id: String) -> Result<api::Empty, Status> {
        let user = (!caller.admin).then(|| caller.user.clone());
        self.ask(Command::RemoveToken { id, user }).await?;
        Ok(api::Empty {})
    }

    pub(super) async fn grant(&self, caller: &Caller, ask: api::GrantAccessRequest) -> Result<api::Empty, Status> {
        let project = parse(&ask.project)?;
        caller.at_least(&project, Role::Admin)?;
        let role = match ask.role.as_str() {
            "" => None,
            "viewer" => Some(Role::Viewer),
            "contributor" => Some(Role::Contributor),
            "admin" => Some(Role::Admin),
            other => return Err(Status::invalid_argument(format!("'{other}' is no role: viewer, contributor or admin"))),
        };
        if !self.office.read(|state| state.users.contains_key(&ask.user)) {
            return Err(Status::not_found(format!(
                "there is no user '{}'; a platform admin makes one with `slipway token create --user {}`",
                ask.user, ask.user
            )));
        }
        self.ask(Command::Grant { user: ask.user, project, role }).await?;
        Ok(api::Empty {})
    }
}

fn key_message(id: &str, key: &Key) -> api::Key {
    api::Key {
        id: id.to_string(),
        title: key.title.clone(),
        fingerprint: key.fingerprint.clone(),
        user: key.user.clone(),
        created_at: rfc3339(key.created_at),
    }
}

#[cfg(test)]
mod tests {
    use super::public_key;

    #[test]
    fn a_key_is_known_by_its_body_whatever_its_comment() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE2nDjEgbCVW1j8xgYVlV0pHqg0V1o8bVbYc8Yy1cZ4S ada@laptop";
        let (key, print) = public_key(line).unwrap();
        assert!(!key.contains("ada"));
        assert!(print.starts_with("SHA256:"));
        for wrong in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-dss AAAAB3NzaC1kc3M=", "ssh-ed25519 ????"] {
            assert!(public_key(wrong).is_err(), "{wrong}");
        }
    }
}
