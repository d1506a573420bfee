//! What is wrong with the cluster, and with our way to it.

use super::facts::{Api, ApiFacts, ClusterFacts, Facts, MemberFacts};
use super::{Area, Finding, Problem};

/// What clocks may differ without a word. The API tells whole seconds, and the answer takes some time.
const MOST_DRIFT_MS: u64 = 10_000;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(ClusterFacts { member, api }) = &facts.cluster else { return Vec::new() };
    let mut found = Vec::new();
    match member {
        Some(facts) => reach(facts, &mut found),
        None if api.is_none() => {
            let sentence = "No cluster is configured: the first host that is rebuilt founds one.";
            found.push(Area::Cluster.fine(sentence));
        }
        None => {}
    }
    match api {
        None => {}
        Some(Api::NoNode) => {
            let sentence = "Apps are switched on and no node is enrolled.";
            found.push(Area::Cluster.finds(Problem::NoNodeEnrolled, sentence));
        }
        Some(Api::Failed(why)) => {
            let sentence = format!("The cluster's API cannot be asked: {why}.");
            found.push(Area::Cluster.finds(Problem::ClusterUnreachable, sentence));
        }
        Some(Api::Refused(why)) => {
            found.push(Area::Cluster.finds(Problem::TokenRefused, format!("{why}.")));
        }
        Some(Api::Told(told)) => {
            state(told, &mut found);
            releases(facts, told, &mut found);
            rights(told, &mut found);
            clocks(told, &mut found);
        }
    }
    found
}

fn reach(member: &MemberFacts, found: &mut Vec<Finding>) {
    let MemberFacts { name, ssh, api } = member;
    let mut silent = Vec::new();
    if let Some(why) = ssh {
        silent.push(format!("SSH ({why})"));
    }
    if let Some(why) = api {
        silent.push(format!("its API on port 8006 ({why})"));
    }
    found.push(if silent.is_empty() {
        Area::Cluster.fine(format!("The cluster's member {name} answers on SSH and on its API."))
    } else {
        let what = silent.join(" and ");
        let sentence = format!("The cluster's member {name} does not answer on {what}.");
        Area::Cluster.finds(Problem::MemberUnreachable, sentence)
    });
}

fn state(told: &ApiFacts, found: &mut Vec<Finding>) {
    let area = Area::Cluster;
    match told.quorate {
        Some(false) => {
            found.push(area.finds(Problem::NotQuorate, "The cluster has no quorum."));
        }
        Some(true) => {
            let nodes = if told.nodes == 1 { "node" } else { "nodes" };
            let sentence = format!("The cluster of {} {nodes} is quorate.", told.nodes);
            found.push(area.fine(sentence));
        }
        None => {}
    }
    for name in &told.offline {
        found.push(area.finds(Problem::NodeOffline, format!("The node {name} is offline.")));
    }
    let unusable = told.problems.iter();
    found.extend(unusable.map(|text| area.finds(Problem::NodeUnusable, text)));
}

fn releases(facts: &Facts, told: &ApiFacts, found: &mut Vec<Finding>) {
    let area = Area::Cluster;
    let Some(((major, _), text)) = &told.release else { return };
    if !told.supported {
        let sentence = format!("The cluster runs Proxmox VE {text}.");
        found.push(area.finds(Problem::ReleaseUnsupported, sentence));
        return;
    }
    let images = facts.images.as_deref().unwrap_or_default();
    let usable: Vec<_> = images.iter().filter(|i| i.unusable.is_none()).collect();
    let before = found.len();
    for image in &usable {
        if image.release.is_some_and(|(own, _)| own > *major) {
            let sentence = format!("The image {} is newer than the cluster ({text}).", image.id);
            found.push(area.finds(Problem::ImageAhead, sentence));
        }
    }
    let newest = usable.iter().filter_map(|i| i.release).max();
    if newest.is_some_and(|(own, _)| own < *major) {
        let sentence = format!("No image is of the cluster's release {text}.");
        found.push(area.finds(Problem::ImageBehind, sentence));
    }
    if found.len() == before {
        let fits = if newest.is_some() { ", and an image fits it" } else { "" };
        found.push(area.fine(format!("The cluster runs Proxmox VE {text}{fits}.")));
    }
}

fn rights(told: &ApiFacts, found: &mut Vec<Finding>) {
    if told.missing_rights.is_empty() {
        found.push(Area::Cluster.fine("The API token has all rights that it needs."));
        return;
    }
    let some: Vec<&str> = told.missing_rights.iter().take(4).map(String::as_str).collect();
    let more = told.missing_rights.len() - some.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let sentence = format!("The API token lacks {}{more}.", some.join(", "));
    found.push(Area::Cluster.finds(Problem::TokenRights, sentence));
}

fn clocks(told: &ApiFacts, found: &mut Vec<Finding>) {
    for (name, ahead_ms) in &told.clocks {
        let seconds = ahead_ms.unsigned_abs() / 1000;
        if ahead_ms.unsigned_abs() <= MOST_DRIFT_MS {
            continue;
        }
        let side = if *ahead_ms > 0 { "ahead of" } else { "behind" };
        let sentence = format!("The clock of {name} is {seconds} s {side} this machine's.");
        found.push(Area::Clock.finds(Problem::ClockDrift, sentence));
    }
}
