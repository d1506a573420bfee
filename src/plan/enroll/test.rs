//! What is granted on which release, what is left alone, and what comes back off.

use super::rights::was_done_already;
use super::*;
use crate::domain::id::PoolId;

fn rights() -> Rights {
    Rights {
        pool: "ironhatch".parse().unwrap(),
        storages: vec!["local-zfs".parse().unwrap(), "backup".parse().unwrap()],
        template_storage: "local".parse().unwrap(),
        bridges: vec!["vmbr0".parse().unwrap()],
        zones: Default::default(),
        vlans: vec![10, 20],
    }
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn lines(commands: &[Vec<String>]) -> Vec<String> {
    commands.iter().map(|c| c.join(" ")).collect()
}

/// A database in which everything that `grant` wants is there.
const COMPLETE: &str = "user:root@pam:1:0::::::
user:ironhatch@pve:1:0::::Ironhatch::
token:ironhatch@pve!node-pve1:0:0::
token:root@pam!admin:0:0::
pool:ironhatch:Guests of Ironhatch:101,102::
pool:other::103:local:
role:IronhatchGuests:Pool.Audit,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CPU,VM.Config.Disk,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.PowerMgmt,VM.Snapshot:
role:IronhatchStorage:Datastore.AllocateSpace,Datastore.Audit:
role:IronhatchTemplates:Datastore.AllocateTemplate,Datastore.Audit:
role:IronhatchNode:Sys.Audit:
role:IronhatchNetwork:SDN.Audit,SDN.Use:
role:IronhatchCluster:Sys.Audit:
role:Mine:VM.Audit:
acl:0:/:ironhatch@pve:IronhatchCluster:
acl:1:/nodes:ironhatch@pve:IronhatchNode:
acl:1:/pool/ironhatch:ironhatch@pve:IronhatchGuests:
acl:0:/sdn/zones/localnetwork/vmbr0:ironhatch@pve:IronhatchNetwork:
acl:0:/sdn/zones/localnetwork/vmbr0/10:ironhatch@pve:IronhatchNetwork:
acl:0:/sdn/zones/localnetwork/vmbr0/20:ironhatch@pve:IronhatchNetwork:
acl:1:/storage/local:ironhatch@pve:IronhatchTemplates:
acl:1:/storage/local-zfs:ironhatch@pve,other@pve:IronhatchStorage:
acl:1:/storage/backup:ironhatch@pve:IronhatchStorage:
acl:1:/vms:other@pve:Mine:
";

#[test]
fn step_ids_are_slugs_and_come_back() {
    for step in EnrollStep::ALL {
        assert_eq!(EnrollStep::from_id(step.id().as_str()), Some(step));
        assert!(!step.title().is_empty());
    }
}

#[test]
fn a_vnet_is_granted_in_its_own_zone() {
    let mut rights = rights();
    rights.bridges.push("vnet0".parse().unwrap());
    rights.zones.insert("vnet0".parse().unwrap(), "lab".parse().unwrap());
    let commands = lines(&grant(&rights, &UserCfg::parse(COMPLETE)));
    assert_eq!(
        commands,
        ["/sdn/zones/lab/vnet0", "/sdn/zones/lab/vnet0/10", "/sdn/zones/lab/vnet0/20"].map(|path| {
            format!("pveum acl modify {path} --users ironhatch@pve --roles IronhatchNetwork --propagate 0")
        })
    );
}

#[test]
fn a_fresh_cluster_gets_everything_once() {
    let commands = lines(&grant(&rights(), &UserCfg::default()));
    assert_eq!(
        commands,
        [
            "pveum pool add ironhatch --comment Guests of Ironhatch",
            "pveum role add IronhatchGuests --privs Pool.Audit VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CPU VM.Config.Disk VM.Config.Memory VM.Config.Network VM.Config.Options VM.PowerMgmt VM.Snapshot",
            "pveum role add IronhatchStorage --privs Datastore.AllocateSpace Datastore.Audit",
            "pveum role add IronhatchTemplates --privs Datastore.AllocateTemplate Datastore.Audit",
            "pveum role add IronhatchNode --privs Sys.Audit",
            "pveum role add IronhatchNetwork --privs SDN.Audit SDN.Use",
            "pveum role add IronhatchCluster --privs Sys.Audit",
            "pveum user add ironhatch@pve --comment Ironhatch",
            "pveum acl modify / --users ironhatch@pve --roles IronhatchCluster --propagate 0",
            "pveum acl modify /nodes --users ironhatch@pve --roles IronhatchNode --propagate 1",
            "pveum acl modify /pool/ironhatch --users ironhatch@pve --roles IronhatchGuests --propagate 1",
            "pveum acl modify /sdn/zones/localnetwork/vmbr0 --users ironhatch@pve --roles IronhatchNetwork --propagate 0",
            "pveum acl modify /sdn/zones/localnetwork/vmbr0/10 --users ironhatch@pve --roles IronhatchNetwork --propagate 0",
            "pveum acl modify /sdn/zones/localnetwork/vmbr0/20 --users ironhatch@pve --roles IronhatchNetwork --propagate 0",
            "pveum acl modify /storage/backup --users ironhatch@pve --roles IronhatchStorage --propagate 1",
            "pveum acl modify /storage/local --users ironhatch@pve --roles IronhatchTemplates --propagate 1",
            "pveum acl modify /storage/local-zfs --users ironhatch@pve --roles IronhatchStorage --propagate 1",
        ]
    );
    for gone in ["VM.Monitor", "VM.GuestAgent", "VM.Replicate"] {
        assert!(!commands.iter().any(|c| c.contains(gone)), "{gone} is not in every release");
    }
}

#[test]
fn what_is_there_is_left_alone_and_what_differs_is_put_right() {
    let users = UserCfg::parse(COMPLETE);
    assert!(grant(&rights(), &users).is_empty(), "{:?}", lines(&grant(&rights(), &users)));

    let drifted = COMPLETE
        .replace("role:IronhatchNode:Sys.Audit:", "role:IronhatchNode:Sys.Audit,Sys.Modify:")
        .replace("acl:0:/:ironhatch", "acl:1:/:ironhatch")
        .replace("acl:1:/storage/backup:", "acl:1:/storage/old:");
    assert_eq!(
        lines(&grant(&rights(), &UserCfg::parse(&drifted))),
        [
            "pveum role modify IronhatchNode --privs Sys.Audit",
            "pveum acl modify / --users ironhatch@pve --roles IronhatchCluster --propagate 0",
            "pveum acl modify /storage/backup --users ironhatch@pve --roles IronhatchStorage --propagate 1",
            "pveum acl delete /storage/old --users ironhatch@pve --roles IronhatchStorage",
        ]
    );
}

#[test]
fn only_the_last_node_takes_the_user_and_only_an_empty_pool_goes() {
    let pool: PoolId = "ironhatch".parse().unwrap();
    let two = UserCfg::parse(&format!("{COMPLETE}token:ironhatch@pve!node-pve2:0:0::\n"));
    assert!(revoke_last(&node("pve1"), &pool, &two).is_empty());
    assert_eq!(
        token_remove(&node("pve1"), &two).unwrap().join(" "),
        "pveum user token remove ironhatch@pve node-pve1"
    );
    assert_eq!(token_remove(&node("pve3"), &two), None);

    let last = lines(&revoke_last(&node("pve1"), &pool, &UserCfg::parse(COMPLETE)));
    assert_eq!(last.iter().filter(|c| c.starts_with("pveum acl delete")).count(), 9);
    assert!(last.contains(&"pveum user delete ironhatch@pve".to_owned()));
    assert_eq!(last.iter().filter(|c| c.starts_with("pveum role delete Ironhatch")).count(), 6);
    assert!(!last.iter().any(|c| c.contains("pool") && c.contains("delete ironhatch")), "{last:?}");
    assert!(!last.iter().any(|c| c.contains("Mine") || c.contains("other")), "{last:?}");
    let emptied = UserCfg::parse(&COMPLETE.replace(":101,102::", ":::"));
    let last = lines(&revoke_last(&node("pve1"), &pool, &emptied));
    assert!(last.contains(&"pveum pool delete ironhatch".to_owned()), "{last:?}");
    assert!(revoke_last(&node("pve1"), &pool, &UserCfg::default()).is_empty());
}

#[test]
fn a_command_that_came_too_late_is_done_and_another_failure_is_not() {
    let pool = grant(&rights(), &UserCfg::default()).remove(0);
    assert!(was_done_already(&pool, "create pool failed: pool 'ironhatch' already exists\n"));
    assert!(!was_done_already(
        &pool,
        "create pool failed: cfs-lock 'file-user_cfg' error: no quorum!\n"
    ));
    let remove = token_remove(&node("pve1"), &UserCfg::parse(COMPLETE)).unwrap();
    assert!(was_done_already(&remove, "no such token 'node-pve1' for user 'ironhatch@pve'\n"));
    assert!(!was_done_already(&remove, "already exists"));
}

#[test]
fn releases_are_read_and_compared() {
    let release = |text: &str| Release::parse(text).map(|r| r.to_string());
    let seen = "pve-manager/9.2.11/14a22df35955d97d (running kernel: 7.0.2-1-pve)";
    assert_eq!(release(seen).as_deref(), Some("9.2"));
    assert_eq!(release("pve-manager/8.2-1/x").as_deref(), Some("8.2"));
    assert_eq!(release("pve-manager/9.0~11/x").as_deref(), Some("9.0"));
    assert_eq!(release("pve-manager"), None);
    assert!(Release::parse("pve-manager/8.1.4/x").unwrap() < Release::FIRST);
    assert!(Release { major: 10, minor: 0 } > Release { major: 9, minor: 2 });
}

const LOOK: &str = "root=yes
version=pve-manager/9.2.11/14a22df35955d97d (running kernel: 7.0.2-1-pve)
mounted=yes
writable=yes
linked=yes
local=pve1
users=user:ironhatch@pve:1:0::::Ironhatch::
users=token:ironhatch@pve!node-pve1:0:0::
agent=00ff
";

#[test]
fn a_look_tells_who_the_node_is_or_why_not() {
    let found = read_look(LOOK).unwrap();
    assert_eq!((found.name.as_str(), found.agent.as_deref()), ("pve1", Some("00ff")));
    assert!(found.users.has_user && found.users.tokens.contains("node-pve1"));
    for (line, hint) in [
        (
            "version=pve-manager/9.2.11/14a22df35955d97d (running kernel: 7.0.2-1-pve)\n",
            "Proxmox VE node",
        ),
        ("root=yes\n", "log in as root"),
        ("mounted=yes\n", "pve-cluster"),
        ("writable=yes\n", "nodes of the cluster"),
        ("linked=yes\n", "updatecerts"),
        ("local=pve1\n", "/etc/pve/local"),
    ] {
        let not = read_look(&LOOK.replace(line, "")).unwrap_err();
        assert!(not.hint.contains(hint), "{line}: {not:?}");
    }
    let old = read_look(&LOOK.replace("9.2.11", "8.1.10")).unwrap_err();
    assert!(old.reason.contains("not supported"), "{old:?}");
    assert!(read_look("").is_err());
}

#[test]
fn identities_and_tokens_are_read_in_the_programs_own_words() {
    let text = "host_key=ssh-ed25519 AAAAC3 root@pve1\nhost_key=ssh-rsa AAAAB3 root@pve1\nhost_key=\n\
                certificate=sha256 Fingerprint=C7:73:D2:3C:C4:8D:16:47:D1:00:39:AE:A7:B2:C2:6F:F7:9F:40:A8:77:EE:AA:76:24:50:F5:C9:E2:3F:4A:CB\n";
    let identity = read_identity(text).unwrap();
    assert_eq!(identity.host_keys, ["ssh-ed25519 AAAAC3", "ssh-rsa AAAAB3"]);
    assert_eq!(
        identity.api_fingerprint,
        "c773d23cc48d1647d10039aea7b2c26ff79f40a877eeaa762450f5c9e23f4acb"
    );
    assert_eq!(read_identity("certificate=sha256 Fingerprint=C7\nhost_key=ssh-rsa A\n"), None);
    assert_eq!(read_identity("host_key=ssh-rsa A\n"), None);
    let answer = "warning\n{\"full-tokenid\":\"cli@pve!t1\",\"info\":{\"privsep\":\"0\"},\"value\":\"s3\"}\n";
    assert_eq!(read_token(answer).as_deref(), Some("s3"));
    assert_eq!(read_token("{}"), None);
}

#[test]
fn the_forced_command_holds_only_words_that_mean_nothing_to_a_shell() {
    let options = |sources: &[&str], zpools: &[&str]| AgentOptions {
        pool: "ironhatch".parse().unwrap(),
        bind_sources: sources.iter().map(|s| (*s).to_owned()).collect(),
        zpools: zpools.iter().map(|s| (*s).to_owned()).collect(),
    };
    let public = "ssh-ed25519 AAAAC3Nz some comment";
    assert_eq!(
        key_line(&node("pve1"), public, &options(&["/tank/media"], &["tank"])).unwrap(),
        "command=\"/usr/local/lib/ironhatch/ironhatch node serve --node pve1 --pool ironhatch --bind-source /tank/media --zpool tank\",restrict ssh-ed25519 AAAAC3Nz ironhatch-node-pve1"
    );
    for odd in ["/a b", "/a\"b", "/a;id", "/$(id)", "/a'b", "-x", "", "/é", "/a\nb"] {
        assert!(key_line(&node("pve1"), public, &options(&[odd], &[])).is_err(), "{odd:?}");
        assert!(key_line(&node("pve1"), public, &options(&[], &[odd])).is_err(), "{odd:?}");
    }
}
