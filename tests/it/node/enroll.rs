//! Enrolment and revocation against a real sshd and the stand-ins for the node's own commands.

use std::time::Duration;

use ironhatch::domain::event::Level;
use ironhatch::domain::node::EnrolledNode;
use ironhatch::domain::time::Timestamp;
use ironhatch::node::enroll::revoke;
use ironhatch::node::{
    Channel, ConnectError, EnrollContext, EnrollError, EnrollLimits, Enrolled, Enrolment,
    EphemeralKey, ErrorClass, Login, host_key,
};
use ironhatch::plan::enroll::{AgentOptions, EnrollStep, Rights};
use ironhatch::proto::verb::Verb;

use super::lab::{call, connect, exec, guests, must, ours};
use crate::join::lab::{Lab, Node, story};

/// A node whose API has a certificate, with guests' commands and no Ironhatch.
fn plain_node(lab: &Lab, knobs: &str) -> Node {
    let node = lab.fresh("pve1", 11);
    guests(&node, knobs);
    // /usr/local/lib is the machine's own: the node must have a private one, or tests would meet each other there.
    let certificate = rcgen::generate_simple_self_signed(["pve1".to_owned()]).unwrap();
    let made = node.sh(&format!(
        "mkdir -p /run/lib && mount --bind /run/lib /usr/local/lib && echo '{}' >/etc/pve/local/pve-ssl.pem && echo made",
        certificate.cert.pem()
    ));
    assert_eq!(made, "made\n");
    node
}

fn rights() -> Rights {
    Rights {
        pool: "ironhatch".parse().unwrap(),
        storages: vec!["local-zfs".parse().unwrap()],
        template_storage: "local".parse().unwrap(),
        bridges: vec!["vmbr0".parse().unwrap()],
        zones: Default::default(),
        vlans: vec![10],
    }
}

fn context(node: &Node, login: Login) -> EnrollContext {
    EnrollContext {
        target: node.target(),
        login,
        rights: rights(),
        agent: AgentOptions {
            pool: "ironhatch".parse().unwrap(),
            bind_sources: vec!["/run/tank".to_owned()],
            zpools: vec![],
        },
        program: Some(env!("CARGO_BIN_EXE_ironhatch").into()),
        channel_key: EphemeralKey::generate(&mut rand::rng(), "ironhatch channel").unwrap(),
    }
}

async fn enroll(context: EnrollContext) -> Result<(Enrolled, String), EnrollError> {
    let mut story = String::new();
    let mut enrolment = Enrolment::new(context, EnrollLimits::default());
    for step in EnrollStep::ALL {
        let mut log = |_: Level, line: &str| story.push_str(&format!("{line}\n"));
        let told = enrolment.run_step(step, &mut log).await?;
        story.push_str(&format!("{} {told}\n", step.as_str()));
    }
    Ok((enrolment.finish(Timestamp(7)).await?, story))
}

/// What an enrolment can leave on a node.
fn traces(node: &Node) -> String {
    node.sh(
        "grep -i ironhatch /etc/pve/user.cfg; grep -c ironhatch-node /etc/pve/priv/authorized_keys; \
         grep -s ironhatch /etc/pve/priv/token.cfg; ls /usr/local/lib",
    )
}

#[test]
fn a_node_is_enrolled_again_and_revoked_over_its_own_channel() {
    story(async |lab| {
        let node = plain_node(&lab, "");
        let before = node.sh("cat /etc/pve/user.cfg /etc/pve/priv/authorized_keys");
        let first = context(&node, Login::Key(node.key.clone()));
        let first_key = first.channel_key.clone();
        let (enrolled, story) = enroll(first).await.unwrap_or_else(|e| panic!("{}", e.reason()));
        let EnrolledNode { name, release, token_id, api_fingerprint, ssh_host_keys, .. } =
            &enrolled.node;
        assert_eq!(
            (name.as_str(), release.as_str(), token_id.as_str()),
            ("pve1", "9.2", "ironhatch@pve!node-pve1")
        );
        let printed =
            node.sh("openssl x509 -in /etc/pve/local/pve-ssl.pem -outform DER | sha256sum");
        assert_eq!(printed.split(' ').next().unwrap(), api_fingerprint);
        assert_eq!(*ssh_host_keys, node.host_keys());
        let secret = enrolled.token.expose();
        assert_eq!(node.sh("cat /etc/pve/priv/token.cfg"), format!("{token_id} {secret}\n"));
        assert!(!story.contains(secret.as_str()), "{story}");
        assert!(story.contains("enroll.verify agent 0.1.0 answers on pve1"), "{story}");
        let users = node.sh("grep -c '^acl:' /etc/pve/user.cfg; grep ^pool: /etc/pve/user.cfg");
        assert_eq!(users, "7\npool:ironhatch:Guests of Ironhatch:::\n");
        let link = node.sh("readlink /root/.ssh/authorized_keys");
        assert_eq!(link, "/etc/pve/priv/authorized_keys\n");

        // The channel works in a guest of the pool, through the installed program.
        ours(&node, 101);
        let channel = connect(&node, &first_key).await;
        assert_eq!(call(&channel, exec(101, &["/bin/echo", "hello"]), &[]).await.0, "hello\n");
        channel.close().await;

        // Again: rights and program are there, key and secret are new, the old key opens nothing.
        let second = context(&node, Login::Key(node.key.clone()));
        let second_key = second.channel_key.clone();
        let (again, story) = enroll(second).await.unwrap_or_else(|e| panic!("{}", e.reason()));
        assert!(story.contains("enroll.rights all rights were there"), "{story}");
        assert!(story.contains("enroll.agent the agent is installed already"), "{story}");
        assert_ne!(again.token.expose(), secret);
        assert_eq!(node.sh("grep -c ironhatch-node /etc/pve/priv/authorized_keys"), "1\n");
        let limit = Duration::from_secs(10);
        let old = Channel::connect(&node.target(), &first_key, limit).await.unwrap_err();
        assert!(matches!(old, ConnectError::Refused { .. }), "{old:?}");

        // Revoked by the node itself. The pool still has a guest, so it stays.
        let channel = connect(&node, &second_key).await;
        must(&channel, Verb::Revoke, &[]).await;
        channel.close().await;
        assert_eq!(traces(&node), "pool:ironhatch:managed:101::\n0\n");
        let gone = Channel::connect(&node.target(), &second_key, limit).await.unwrap_err();
        assert!(matches!(gone, ConnectError::Refused { .. }), "{gone:?}");
        node.sh("sed -i '/^pool:/d' /etc/pve/user.cfg; rm /etc/pve/local/lxc/101.conf");
        assert_eq!(node.sh("cat /etc/pve/user.cfg /etc/pve/priv/authorized_keys"), before);
    });
}

/// The appliance in a nutshell: answers each request with the next status, and returns what was posted. GET gets `script`.
fn serve(
    listener: std::net::TcpListener,
    script: String,
    statuses: Vec<&'static str>,
) -> std::thread::JoinHandle<Vec<String>> {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    std::thread::spawn(move || {
        let mut posted = Vec::new();
        for status in statuses {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let (mut first, mut length) = (String::new(), 0);
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = if first.starts_with("GET ") {
                script.as_str()
            } else {
                posted.push(String::from_utf8(body).unwrap());
                "said the appliance"
            };
            write!(
                stream.get_mut(),
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
        posted
    })
}

#[test]
fn a_pasted_command_lets_the_appliance_in_once() {
    use ironhatch::plan::enroll::paste::{self, EnrollScript};
    use ironhatch::plan::script::ScriptUrl;

    story(async |lab| {
        let node = plain_node(&lab, "");
        let key = EphemeralKey::generate(&mut rand::rng(), "pasted").unwrap();
        let listener = std::net::TcpListener::bind("192.0.2.10:0").unwrap();
        let url = format!("http://{}{}", listener.local_addr().unwrap(), paste::path("c0de"));
        let script = EnrollScript::new(ScriptUrl::parse(&url).unwrap(), key.public_line(), None);
        let statuses = vec!["200 OK", "200 OK", "503 Busy", "200 OK", "200 OK"];
        let appliance = serve(listener, script.text(), statuses);
        let keys = || node.sh("cat /root/.ssh/authorized_keys2 2>/dev/null");

        // Somebody else's script under the right address is not run.
        let forged = script.command().replace("echo \"", "echo \"0");
        assert!(!node.sh(&forged).contains("ironhatch:"));
        assert_eq!(keys(), "");
        // The appliance does not take the report: nobody is let in.
        let said = node.sh(&script.command());
        assert!(said.contains("did not take it"), "{said}");
        assert_eq!(keys(), "");

        node.sh("echo 'ssh-ed25519 AAAA another' >/root/.ssh/authorized_keys2");
        let said = node.sh(&script.command());
        assert!(said.contains("is being enrolled"), "{said}");
        assert!(said.contains("said the appliance"), "{said}");
        let posted = appliance.join().unwrap();
        let report = paste::read_report(posted.last().unwrap().as_bytes()).unwrap();
        assert_eq!((report.name.as_str(), &report.host_keys), ("pve1", &node.host_keys()));
        let line = keys();
        assert!(
            line.contains("expiry-time=\"2") && line.contains("\",restrict ssh-ed25519 "),
            "{line}"
        );

        let mut context = context(&node, Login::Key(key.clone()));
        context.target.host_keys = report.host_keys;
        enroll(context).await.unwrap_or_else(|e| panic!("{}", e.reason()));
        assert_eq!(keys(), "ssh-ed25519 AAAA another\n");
        let limit = Duration::from_secs(10);
        let again = Channel::connect(&node.target(), &key, limit).await.unwrap_err();
        assert!(matches!(again, ConnectError::Refused { .. }), "{again:?}");
    });
}

#[test]
fn an_older_release_is_enrolled_with_the_same_rights_and_revoked_over_a_login() {
    story(async |lab| {
        // There `pveum` refuses a role that names a privilege which the release does not know.
        let node = plain_node(&lab, "PCT_VERSION=8.2");
        node.sh("sed -i 's/9.2.11/8.2.4/' /usr/local/sbin/pveversion");
        let (enrolled, _) = enroll(context(&node, Login::Key(node.key.clone())))
            .await
            .unwrap_or_else(|e| panic!("{}", e.reason()));
        assert_eq!(enrolled.node.release, "8.2");

        // A second node of the cluster has its own token: revoking the first takes only the first one's.
        node.sh("pveum user token add ironhatch@pve node-pve2 --privsep 0 --output-format json");
        let (name, pool) = ("pve1".parse().unwrap(), "ironhatch".parse().unwrap());
        let take_away = async || {
            let mut log = |_: Level, _: &str| {};
            let login = Login::Key(node.key.clone());
            let limits = EnrollLimits::default();
            revoke(node.target(), login, &name, &pool, limits, &mut log)
                .await
                .unwrap_or_else(|e| panic!("{}", e.reason()));
        };
        take_away().await;
        let left = traces(&node);
        assert!(left.contains("node-pve2") && !left.contains("node-pve1"), "{left}");
        assert!(left.contains("role:IronhatchGuests:"), "{left}");
        node.sh("pveum user token remove ironhatch@pve node-pve2");
        // Repeated, also when nothing is left.
        for _ in 0..2 {
            take_away().await;
            assert_eq!(traces(&node), "0\n");
        }
    });
}

#[test]
fn a_node_that_cannot_be_enrolled_is_left_as_it_was() {
    story(async |lab| {
        let node = plain_node(&lab, "");
        let before = node.sh("cat /etc/pve/user.cfg /etc/pve/priv/authorized_keys");
        let key = || Login::Key(node.key.clone());

        // Nobody confirmed this host key.
        let mut wrong = context(&node, key());
        wrong.target.host_keys = vec![node.key.public_line().to_owned()];
        let error = enroll(wrong).await.unwrap_err();
        let EnrollError::Connect(source) = &error else { panic!("{error:?}") };
        assert!(matches!(**source, ConnectError::HostKey { .. }), "{error:?}");
        // A password that sshd does not take (it takes none at all here).
        let password =
            Login::Password(ironhatch::domain::secret::Secret::new("planted".to_owned()));
        let error = enroll(context(&node, password)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied, "{error:?}");
        assert!(!error.reason().contains("planted"), "{}", error.reason());
        // A folder that would become shell.
        let mut odd = context(&node, key());
        odd.agent.bind_sources = vec!["/tank;id".to_owned()];
        assert!(matches!(enroll(odd).await, Err(EnrollError::Refused { .. })));
        // Without quorum, and with a release that is too old.
        node.sh("echo '{\"cluster\": { \"quorate\": 0 }}' >/etc/pve/.members");
        let error = enroll(context(&node, key())).await.unwrap_err();
        assert!(error.reason().contains("no quorum"), "{}", error.reason());
        node.sh("rm /etc/pve/.members; cp /usr/local/sbin/pveversion /run/pv; printf '#!/bin/sh\\necho pve-manager/7.4-17/x\\n' >/usr/local/sbin/pveversion");
        let error = enroll(context(&node, key())).await.unwrap_err();
        assert!(error.reason().contains("not supported"), "{}", error.reason());
        node.sh("cp /run/pv /usr/local/sbin/pveversion; rm /run/pv");
        // The rights and the program were made before the odd folder was seen; nothing lets anybody in.
        let after = node.sh("cat /etc/pve/priv/authorized_keys");
        assert!(before.ends_with(&after) && !after.contains("ironhatch-node"), "{after}");

        // What it is to a person: one key, and the fingerprint that the console prints.
        let seen = host_key::look(node.target().address, Duration::from_secs(10)).await.unwrap();
        assert!(node.host_keys().contains(&seen.key), "{seen:?}");
        let printed = node.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
        assert!(printed.contains(&seen.fingerprint), "{printed} {seen:?}");
    });
}
