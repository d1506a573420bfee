//! The cluster join over a real OpenSSH server, with a stand-in for `pvecm` that behaves as recorded.

mod lab;

use ironhatch::node::{ClusterLocks, EphemeralKey, ErrorClass, Join, Session};
use ironhatch::plan::join::JoinStep;

use lab::{Node, Story, drive, limits, story, whole};

/// The node is an online member with a certificate, and its ephemeral key is nowhere.
fn assert_joined(node: &Node, member: &Node, log: &Story) {
    let nodes = member.sh("pvecm nodes");
    assert!(nodes.contains(&format!(" {}", node.name)), "{nodes}\n{}", log.text());
    let own = node
        .sh("pvecm status >/dev/null && echo quorate; ls /etc/pve/nodes/$(hostname)/pve-ssl.pem");
    assert!(own.contains("quorate") && own.contains("pve-ssl.pem\n"), "{own}\n{}", log.text());
    assert_eq!(node.files_with_key(&node.key), "", "{}", log.text());
    assert_eq!(
        member.sh(&format!("grep -cF '{}' /etc/pve/priv/authorized_keys", node.key.public_body())),
        "0\n"
    );
    assert_eq!(node.sh("readlink /root/.ssh/authorized_keys"), "/etc/pve/priv/authorized_keys\n");
    assert_eq!(node.sh("ls -A /root/.ssh"), "authorized_keys\nid_rsa\nid_rsa.pub\n");
}

async fn assert_refused(node: &Node, key: &EphemeralKey) {
    let error = Session::connect(&node.target(), key, limits().connect).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied, "{error}");
}

#[test]
fn a_fresh_node_joins_and_its_ephemeral_key_is_gone() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let log = Story::default();
        whole(node.joining(&member), &log)
            .await
            .unwrap_or_else(|e| panic!("{}\n{}", e.reason(), log.text()));
        assert_joined(&node, &member, &log);
        assert_refused(&node, &node.key).await;
        let text = log.text();
        assert!(
            text.contains("join.add Info successfully added node 'pve2' to cluster."),
            "{text}"
        );
        assert!(text.contains("join.proof Info 192.0.2.12:22 refused a new login"), "{text}");
        assert!(text.contains("on the member: 0 /etc/pve/priv/authorized_keys"), "{text}");
        assert!(text.contains("on the node: 0 /etc/pve/priv/authorized_keys"), "{text}");
    });
}
