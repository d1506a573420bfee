//! Tests of the marks: each way around them is tried.

use super::super::sample;
use super::*;
use crate::domain::guest::Adoption;
use crate::domain::time::Timestamp;

fn seen(guest: &Guest) -> Seen {
    Seen {
        vmid: guest.vmid,
        node: guest.node.clone(),
        pool: Some(pool()),
        tags: "ironhatch;ironhatch-app-wiki;web".to_owned(),
    }
}

fn pool() -> PoolId {
    "ironhatch".parse().unwrap()
}

#[test]
fn a_guest_is_changed_only_with_all_three_marks_in_its_own_place() {
    let guest = sample::guest();
    let ours = seen(&guest);
    assert_eq!(may_change(Some(&guest), &ours, &pool()), Ok(()));
    let vmid = guest.vmid;
    let outside_pool = Outside::Pool { vmid, pool: pool() };
    for (changed, why) in [
        (Seen { pool: None, ..ours.clone() }, outside_pool.clone()),
        (Seen { pool: Some("other".parse().unwrap()), ..ours.clone() }, outside_pool),
        (Seen { tags: "ironhatch-app-wiki".to_owned(), ..ours.clone() }, Outside::Tag { vmid }),
        (Seen { tags: "ironhatch-failed;x".to_owned(), ..ours.clone() }, Outside::Tag { vmid }),
        (Seen { tags: String::new(), ..ours.clone() }, Outside::Tag { vmid }),
        // It moved away, and another guest may be under its number there.
        (Seen { node: "pve2".parse().unwrap(), ..ours.clone() }, Outside::Database { vmid }),
    ] {
        assert_eq!(may_change(Some(&guest), &changed, &pool()), Err(why), "{changed:?}");
    }
    let other = Seen { vmid: Vmid::try_from(221).unwrap(), ..ours.clone() };
    assert!(matches!(may_change(Some(&guest), &other, &pool()), Err(Outside::Database { .. })));
    assert_eq!(may_change(None, &ours, &pool()), Err(Outside::Database { vmid }));
    let observed = Guest { state: GuestState::Observed, ..guest };
    assert_eq!(may_change(Some(&observed), &ours, &pool()), Err(Outside::Database { vmid }));
}

#[test]
fn only_an_observed_guest_inside_the_boundary_is_adopted() {
    let adopted = Adoption {
        config: std::collections::BTreeMap::new(),
        pool: None,
        confirmed: Some(Timestamp(1)),
    };
    let guest = Guest { state: GuestState::Observed, adopted: Some(adopted), ..sample::guest() };
    let boundary = sample::place().boundary;
    let free = Seen { pool: None, tags: "web".to_owned(), ..seen(&guest) };
    assert_eq!(may_adopt(&guest, &free, &boundary), Ok(()));
    assert_eq!(may_adopt(&guest, &seen(&guest), &boundary), Ok(()));
    let refused = |guest: &Guest, seen: &Seen| may_adopt(guest, seen, &boundary).unwrap_err();
    let elsewhere = Seen { pool: Some("production".parse().unwrap()), ..free.clone() };
    assert!(refused(&guest, &elsewhere).contains("is in the pool 'production'"));
    let moved = Seen { node: "pve2".parse().unwrap(), ..free.clone() };
    assert!(refused(&guest, &moved).contains("is on pve2 now"));
    let far = Guest { node: "pve3".parse().unwrap(), ..guest.clone() };
    assert!(
        refused(&far, &Seen { node: far.node.clone(), ..free.clone() }).contains("approved nodes")
    );
    let ready = Guest { state: GuestState::Ready, ..guest.clone() };
    assert!(refused(&ready, &free).contains("not waiting for its adoption"));
    let never = Guest { adopted: None, ..guest };
    assert!(refused(&never, &free).contains("not waiting for its adoption"));
}

#[test]
fn tags_of_others_stay_and_the_list_is_what_the_cluster_gives_back() {
    let app: AppId = "wiki".parse().unwrap();
    let set = |current: &str, app: Option<&AppId>| property(&tags(current, app));
    assert_eq!(set("", Some(&app)), "ironhatch;ironhatch-app-wiki");
    assert_eq!(
        set("web;Prod ironhatch-app-old", Some(&app)),
        "ironhatch;ironhatch-app-wiki;prod;web"
    );
    assert_eq!(set("web", None), "ironhatch;web");
    let failed = property(&tags_when_failed("ironhatch;ironhatch-app-wiki"));
    assert_eq!(failed, "ironhatch;ironhatch-app-wiki;ironhatch-failed");
    assert_eq!(property(&tags_when_mended(&failed)), "ironhatch;ironhatch-app-wiki");
}
