//! Forms between their review and what comes after it, in memory only. What was typed may hold secrets, and a secret is
//! never written back into a page: the review names its draft instead of repeating the fields.

use std::sync::Mutex;

use super::auth::random_token;
use crate::domain::form::Submitted;
use crate::domain::time::Timestamp;
use crate::limits::operator::DRAFTS;
use crate::limits::over::{Over, Overruns};

struct Draft {
    id: String,
    /// The form token of the session that typed it.
    owner: String,
    /// What it is about: an app, or a node.
    about: String,
    form: Submitted,
    until: Timestamp,
}

/// All drafts. The oldest goes when there is no room.
pub(super) struct Drafts {
    kept: Mutex<Vec<Draft>>,
    over: Overruns,
}

impl std::fmt::Debug for Drafts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Drafts")
    }
}

impl Drafts {
    pub(super) fn new(over: Overruns) -> Self {
        Self { kept: Mutex::default(), over }
    }

    fn with<T>(&self, now: Timestamp, work: impl FnOnce(&mut Vec<Draft>) -> T) -> T {
        // A thread that panicked while it held the list left a list: each change is one call.
        let mut drafts = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        drafts.retain(|d| d.until > now);
        work(&mut drafts)
    }

    /// Keeps a form of a session and returns the draft's name.
    pub(super) fn keep(
        &self,
        owner: &str,
        about: &str,
        form: Submitted,
        until: Timestamp,
        now: Timestamp,
    ) -> String {
        let id = random_token();
        let (owner, about) = (owner.to_owned(), about.to_owned());
        let draft = Draft { id: id.clone(), owner, about, form, until };
        self.with(now, |drafts| {
            if drafts.len() >= DRAFTS {
                drafts.remove(0);
                self.over.met(Over::Drafts);
            }
            drafts.push(draft);
        });
        id
    }

    /// The form with this name, when this session typed it about this.
    pub(super) fn get(
        &self,
        id: &str,
        owner: &str,
        about: &str,
        now: Timestamp,
    ) -> Option<Submitted> {
        self.with(now, |drafts| {
            let of = |d: &&Draft| d.id == id && d.owner == owner && d.about == about;
            drafts.iter().find(of).map(|d| d.form.clone())
        })
    }

    /// As [`Self::get`], and it is gone afterwards.
    pub(super) fn take(
        &self,
        id: &str,
        owner: &str,
        about: &str,
        now: Timestamp,
    ) -> Option<Submitted> {
        let form = self.get(id, owner, about, now)?;
        self.with(now, |drafts| drafts.retain(|d| d.id != id));
        Some(form)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::limits::operator::DRAFT_TIME;

    #[test]
    fn a_draft_belongs_to_its_session_and_app_and_ends() {
        let drafts = Drafts::new(Overruns::new(std::sync::Arc::new(|| 0)));
        let (app, other) = ("redis", "n8n");
        let mut form = Submitted::default();
        form.set("name", "cache1");
        let now = Timestamp(1_000);
        let id = drafts.keep("me", app, form, now.after(DRAFT_TIME), now);
        assert!(drafts.get(&id, "me", app, now).is_some());
        assert!(drafts.get(&id, "you", app, now).is_none());
        assert!(drafts.get(&id, "me", other, now).is_none());
        assert!(drafts.get(&id, "me", app, now.after(DRAFT_TIME)).is_none());
        let id = drafts.keep("me", app, Submitted::default(), now.after(DRAFT_TIME), now);
        assert!(drafts.take(&id, "me", app, now).is_some());
        assert!(drafts.take(&id, "me", app, now).is_none());
    }

    #[test]
    fn the_oldest_draft_makes_room() {
        let drafts = Drafts::new(Overruns::new(std::sync::Arc::new(|| 0)));
        let later = Timestamp(1);
        let ids: Vec<String> = (0..=DRAFTS)
            .map(|_| drafts.keep("me", "redis", Submitted::default(), later, Timestamp(0)))
            .collect();
        assert!(drafts.get(&ids[0], "me", "redis", Timestamp(0)).is_none());
        assert!(drafts.get(&ids[DRAFTS], "me", "redis", Timestamp(0)).is_some());
    }
}
