//! What creating a container cannot set, and the notes by which it is known again.
//!
//! A token may not set everything at once, so it happens in this order:
//!
//! ```text
//!  POST …/lxc          resources, network, volumes, our notes; in our pool, never with tags: rights that come through a pool
//!                      do not count for them
//!  PUT …/config tags   marks::tags, once the task has put the container into the pool
//!  root channel        features besides nesting, device entries; the container is stopped
//! ```

use crate::domain::app::Feature;
use crate::domain::guest::GuestSpec;
use crate::domain::id::{GuestId, JobId};

/// Features that the root channel has to set afterwards, all of them at once; `None`: creation set everything.
#[must_use]
pub fn root_features(spec: &GuestSpec) -> Option<Vec<Feature>> {
    let by_creation = |f: &Feature| spec.unprivileged && *f == Feature::Nesting;
    let all_set = spec.features.iter().all(by_creation);
    (!all_set).then(|| spec.features.clone())
}

/// The notes of a guest in the cluster's own pages. Below the operator's text stand our marks for people; what counts are
/// pool, tag and database.
#[must_use]
pub fn description(text: &str, app: Option<(&str, &str)>, guest: GuestId, job: JobId) -> String {
    let what = match app {
        Some((name, version)) => format!("{name} {version}, installed by Ironhatch"),
        None => "Adopted by Ironhatch".to_owned(),
    };
    let own = format!("{what} (guest {guest}, job {job})");
    if text.is_empty() { own } else { format!("{text}\n\n{own}") }
}

/// The same notes with another text of the operator.
#[must_use]
pub fn with_text(text: &str, description: &str) -> String {
    let own = description.lines().rev().find(|line| line.contains(" (guest "));
    match own {
        Some(own) if text.is_empty() => own.to_owned(),
        Some(own) => format!("{text}\n\n{own}"),
        None => text.to_owned(),
    }
}

/// The job that made a container for a guest, as its notes say; `None`: it was not made for this guest.
#[must_use]
pub fn maker(description: &str, guest: GuestId) -> Option<JobId> {
    let mark = format!(" (guest {guest}, job ");
    let (_, rest) = description.split_once(&mark)?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::guest::sample::guest;

    #[test]
    fn what_a_token_may_not_set_is_left_to_the_root_channel() {
        use Feature::{Keyctl, Nesting};
        let with = |unprivileged, features: &[Feature]| {
            let spec = GuestSpec { unprivileged, features: features.to_vec(), ..guest(101).spec };
            root_features(&spec)
        };
        assert_eq!(with(true, &[]), None);
        assert_eq!(with(true, &[Nesting]), None);
        assert_eq!(with(true, &[Nesting, Keyctl]), Some(vec![Nesting, Keyctl]));
        // No feature of a privileged container can be set by a token.
        assert_eq!(with(false, &[Nesting]), Some(vec![Nesting]));
        assert_eq!(with(false, &[]), None);
    }

    #[test]
    fn the_notes_keep_the_operators_text() {
        let guest: GuestId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
        let job: JobId = "01890000-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(
            description("for the team", Some(("Wiki", "1.2.0")), guest, job),
            "for the team\n\nWiki 1.2.0, installed by Ironhatch (guest 01890000-0000-7000-8000-000000000000, job \
             01890000-0000-7000-8000-000000000001)"
        );
        let notes = description("for the team", Some(("Wiki", "1.2.0")), guest, job);
        assert_eq!(maker(&notes, guest), Some(job));
        assert_eq!(maker(&with_text("", &notes), guest), Some(job));
        assert_eq!(maker("for the team", guest), None);
        assert_eq!(maker(&notes, GuestId(uuid::Uuid::nil())), None);
    }
}
