use super::*;
use crate::domain::gpu::GpuReport;
use crate::domain::time::Timestamp;
use crate::fakes::sample;

fn host(name: &str, state: HostState, is_member: bool) -> Host {
    Host { hostname: name.parse().unwrap(), state, is_member, ..sample::host(1) }
}

fn member(name: &str, online: bool, version: &str) -> MemberLook {
    MemberLook {
        name: name.into(),
        online,
        version: version.into(),
        cores: 8,
        memory_mb: 32_768,
        used_memory_mb: 8_192,
        uptime_secs: 60,
        guests: 2,
        running: 1,
    }
}

fn look(members: Vec<MemberLook>) -> ClusterLook {
    ClusterLook { seen: Timestamp(0), quorate: Some(true), members }
}

fn node(name: &str, problem: &str) -> EnrolledNode {
    EnrolledNode {
        name: name.parse().unwrap(),
        address: [192, 0, 2, 21].into(),
        api_fingerprint: String::new(),
        ssh_host_keys: vec![],
        release: "9.2".into(),
        token_id: String::new(),
        host: None,
        enrolled: Timestamp(0),
        gpu: GpuReport::default(),
        gpu_seen: None,
        problem: problem.into(),
    }
}

fn image(release: &str) -> Image {
    let mut image = sample::image();
    image.id = format!("proxmox-ve-{release}-1").parse().unwrap();
    image.release.release = release.into();
    image
}

#[test]
fn nodes_that_fit_together_disagree_in_nothing() {
    let look = look(vec![member("pve1", true, "9.2.11"), member("PVE2", true, "9.2.4")]);
    let hosts = [host("pve1", HostState::Ready, true), host("pve9", HostState::Registered, false)];
    let found = rows(Some(&look), &hosts, &[node("pve1", "")], &[image("9.2"), image("8.4")]);
    let names: Vec<&str> = found.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["pve1", "PVE2"]);
    assert!(found.iter().all(|row| row.disagrees.is_empty()), "{found:#?}");
    assert!(found[0].enrolled && found[0].host.is_some());
    assert!(!found[1].enrolled && found[1].host.is_none());
}

#[test]
fn every_disagreement_is_told_at_the_node_that_it_is_about() {
    let look = look(vec![
        member("pve1", true, "9.1.4"),
        member("pve2", false, ""),
        member("pve3", true, "9.2.1"),
        member("pve4", true, "9.2.1"),
    ]);
    let hosts = [
        host("pve1", HostState::Ready, true),
        host("pve2", HostState::Ready, true),
        host("pve3", HostState::Failed, false),
        host("pve4", HostState::Installing, true),
        host("pve5", HostState::Ready, true),
        host("pve7", HostState::Failed, true),
    ];
    let enrolled = [node("pve2", "its token was revoked"), node("pve6", "")];
    let found = rows(Some(&look), &hosts, &enrolled, &[image("9.2")]);
    let told = |name: &str| {
        found.iter().find(|row| row.name == name).map(|row| row.disagrees.join("; ")).unwrap()
    };
    assert_eq!(
        told("pve1"),
        "it runs 9.1.4, and another member is newer; it runs 9.1.4, and the image proxmox-ve-9.2-1 is newer"
    );
    assert_eq!(
        told("pve2"),
        "the cluster says that it is offline; guests cannot be worked on: its token was revoked"
    );
    assert!(told("pve3").contains("was not made this node here"));
    assert!(told("pve4").contains("is being rebuilt (installing)"));
    assert_eq!(told("pve5"), "its host is ready, and the cluster does not know the node");
    assert_eq!(told("pve6"), "it is enrolled, and the cluster does not know it");
    assert!(!found.iter().any(|row| row.name == "pve7"), "it is no node now");
}

#[test]
fn without_a_look_nothing_is_said_of_the_cluster() {
    let hosts = [host("pve1", HostState::Ready, true)];
    let found = rows(None, &hosts, &[node("pve2", "")], &[image("9.2")]);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|row| row.member.is_none() && row.disagrees.is_empty()));
}
