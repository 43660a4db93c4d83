//! Who is signed in: tokens stay here, browsers hold a random name for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Sessions that are kept; the one unused longest makes room.
const SESSIONS_MAX: usize = 10_000;
/// A session that nobody uses ends.
const IDLE_TIME_MAX: Duration = Duration::from_secs(12 * 3600);
/// Every session ends.
const LIFE_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// All sessions of this node.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Kept>>>);

/// One signed-in browser.
#[derive(Clone)]
pub struct Session {
    pub id: String,
    pub token: String,
    pub user: String,
    /// Of the whole platform.
    pub admin: bool,
    /// What every form of this session carries.
    pub csrf: String,
}

struct Kept {
    session: Session,
    /// Shown once on the next page.
    notice: Option<String>,
    made: Instant,
    used: Instant,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) > IDLE_TIME_MAX || now.duration_since(self.made) > LIFE_TIME_MAX
    }
}

impl Sessions {
    /// Begins a session under a name that was never used.
    pub fn begin(&self, token: String, user: String, admin: bool) -> Session {
        let session = Session { id: random(), token, user, admin, csrf: random() };
        let now = Instant::now();
        let mut kept = self.0.lock().expect("no holder panics");
        if kept.len() >= SESSIONS_MAX {
            kept.retain(|_, k| !k.is_over(now));
        }
        if kept.len() >= SESSIONS_MAX
            && let Some(oldest) = kept.iter().min_by_key(|(_, k)| k.used).map(|(id, _)| id.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(session.id.clone(), Kept { session: session.clone(), notice: None, made: now, used: now });
        session
    }

    pub fn find(&self, id: &str) -> Option<Session> {
        let now = Instant::now();
        let mut kept = self.0.lock().expect("no holder panics");
        if kept.get(id)?.is_over(now) {
            kept.remove(id);
            return None;
        }
        let found = kept.get_mut(id)?;
        found.used = now;
        Some(found.session.clone())
    }

    pub fn end(&self, id: &str) {
        self.0.lock().expect("no holder panics").remove(id);
    }

    /// Leaves a word for the next page.
    pub fn leave_notice(&self, id: &str, text: String) {
        if let Some(kept) = self.0.lock().expect("no holder panics").get_mut(id) {
            kept.notice = Some(text);
        }
    }

    pub fn take_notice(&self, id: &str) -> Option<String> {
        self.0.lock().expect("no holder panics").get_mut(id)?.notice.take()
    }
}

/// 256 random bits.
pub fn random() -> String {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    data_encoding::BASE64URL_NOPAD.encode(&bytes)
}

/// Compares without telling by its time how much was right.
pub fn is_same(shown: &str, known: &str) -> bool {
    shown.len() == known.len() && shown.bytes().zip(known.bytes()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_the_one_unused_longest_goes() {
        let sessions = Sessions::default();
        let first = sessions.begin("t".into(), "u".into(), false);
        let second = sessions.begin("t".into(), "u".into(), false);
        for _ in 2..SESSIONS_MAX {
            sessions.begin("t".into(), "u".into(), false);
        }
        assert!(sessions.find(&first.id).is_some(), "asked for, so used");
        sessions.begin("t".into(), "u".into(), false);
        assert!(sessions.find(&first.id).is_some());
        assert!(sessions.find(&second.id).is_none());
        assert_eq!(sessions.0.lock().unwrap().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_notice_is_shown_once() {
        let sessions = Sessions::default();
        let session = sessions.begin("t".into(), "u".into(), false);
        sessions.leave_notice(&session.id, "done".into());
        assert_eq!(sessions.take_notice(&session.id).as_deref(), Some("done"));
        assert_eq!(sessions.take_notice(&session.id), None);
    }
}
