//! The root channel over a real OpenSSH server: the real agent behind a forced command, guests that really run programs,
//! and everything that somebody with the channel's key may try beside it.

mod enroll;
pub(crate) mod lab;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ironhatch::domain::app::Feature;
use ironhatch::node::{CallLimits, ChannelError, ErrorClass, Limits, Session};
use ironhatch::proto::verb::{Answer, FileMode, Request, Rule, Stream, Verb};

use crate::join::lab::{Node, story};
use lab::{call, channel_key, connect, exec, guest, guests, key_file, must, ours, vmid};

/// A node with the container 101 of ours and 102 to 104 that are not.
fn node_with_guests(lab: &crate::join::lab::Lab, knobs: &str) -> Node {
    let node = lab.fresh("pve1", 11);
    guests(&node, knobs);
    ours(&node, 101);
    guest(&node, 102, "other");
    guest(&node, 103, "ironhatch");
    node.sh("sed -i 's/^pool:ironhatch:.*/pool:ironhatch:managed:101,102::/' /etc/pve/user.cfg");
    node
}

fn push(guest: u32, path: &str, mode: FileMode, size: usize) -> Verb {
    Verb::Push {
        vmid: vmid(guest),
        path: path.to_owned(),
        mode,
        uid: 1000,
        gid: 1000,
        size: size as u64,
    }
}

fn rule(result: Result<ironhatch::node::Outcome, ChannelError>) -> Rule {
    match result {
        Err(ChannelError::Refused { rule: Some(rule), .. }) => rule,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn programs_run_in_the_guest_and_files_go_both_ways() {
    story(async |lab| {
        let node = node_with_guests(&lab, "");
        let key = channel_key(&node);
        let channel = connect(&node, &key).await;
        match channel.hello().await.unwrap() {
            Answer::Hello { pve, node, pool, .. } => {
                assert!(pve.starts_with("pve-manager/9.2.11/"), "{pve}");
                assert_eq!((node.as_str(), pool.as_str()), ("pve1", "ironhatch"));
            }
            other => panic!("{other:?}"),
        }

        // Both streams, the status, an argument that looks like shell, and an environment that is only ours.
        let script = "echo out \"$1\"; echo err >&2; printf '<%s>\n' \"$APP_ID\"; env; pwd; exit 7";
        let verb = Verb::Exec {
            vmid: vmid(101),
            argv: ["/bin/sh", "-c", script, "sh", "$(reboot) 'x'"].map(str::to_owned).to_vec(),
            env: [("APP_ID".to_owned(), "a b\n$x".to_owned())].into(),
            user: None,
            timeout_sec: 30,
        };
        let (heard, outcome) = call(&channel, verb, &[]).await;
        assert_eq!(outcome.unwrap().status, 7);
        assert!(heard.contains("out $(reboot) 'x'\n") && heard.contains("err\n"), "{heard}");
        assert!(heard.contains("<a b\n$x>\n") && heard.contains("HOME=/root\n"), "{heard}");
        // The folder; the two streams have no order between them.
        assert!(!heard.contains("SSH_") && heard.contains("\n/\n"), "{heard}");

        // As another user.
        let verb = Verb::Exec {
            vmid: vmid(101),
            argv: ["/bin/sh", "-c", "id -un; echo \"$HOME $K\""].map(str::to_owned).to_vec(),
            env: [("K".to_owned(), "v".to_owned())].into(),
            user: Some("app".to_owned()),
            timeout_sec: 30,
        };
        assert_eq!(call(&channel, verb, &[]).await.0, "app\n/home/app v\n");

        // A file with every byte into a folder that is not there, and back.
        let bytes: Vec<u8> =
            (0..200_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
        must(
            &channel,
            push(101, "/opt/appstore/a b/x.bin", FileMode::PRIVATE, bytes.len()),
            &bytes,
        )
        .await;
        let seen =
            node.sh("stat -c '%a %u %g %s' '/var/lib/lxc-double/101/opt/appstore/a b/x.bin'");
        assert_eq!(seen, "600 1000 1000 200000\n");
        assert_eq!(
            node.sh("ls -d /run/ironhatch-node-* 2>/dev/null"),
            "",
            "a copy was left on the node"
        );
        let pull =
            |most| Verb::Pull { vmid: vmid(101), path: "/opt/appstore/a b/x.bin".to_owned(), most };
        assert_eq!(must(&channel, pull(200_000), &[]).await.data, bytes);
        assert_eq!(rule(call(&channel, pull(199_999), &[]).await.1), Rule::Limit);
        let gone = Verb::Pull { vmid: vmid(101), path: "/opt/none".to_owned(), most: 9 };
        assert!(matches!(call(&channel, gone, &[]).await.1, Err(ChannelError::Failed { .. })));
        must(&channel, Verb::RemoveStaged { vmid: vmid(101) }, &[]).await;
        assert_eq!(node.sh("ls -A /var/lib/lxc-double/101/opt"), "");
        channel.close().await;
    });
}

#[test]
fn output_comes_while_the_program_runs_and_a_deadline_kills_it() {
    story(async |lab| {
        let node = node_with_guests(&lab, "");
        let channel = connect(&node, &channel_key(&node)).await;
        let begun = Instant::now();
        let mut first = None;
        let request = Request::new(exec(
            101,
            &["/bin/sh", "-c", "echo first; printf 'no end'; sleep 3; echo last"],
        ));
        let limits = CallLimits::for_verb(&request.verb);
        let mut hear = |_: Stream, text: &str| {
            if text.contains("first") {
                first = Some(begun.elapsed());
            }
        };
        channel.call(&request, &[], limits, &mut hear).await.unwrap();
        let first = first.expect("output");
        assert!(begun.elapsed() - first > Duration::from_secs(2), "it came at the end: {first:?}");

        let slow = Verb::Exec {
            vmid: vmid(101),
            argv: ["/bin/sh", "-c", "sleep 4321 & sleep 4322"].map(str::to_owned).to_vec(),
            env: Default::default(),
            user: None,
            timeout_sec: 1,
        };
        match call(&channel, slow, &[]).await.1 {
            Err(ChannelError::Failed { detail }) => {
                assert!(detail.contains("within 1 s"), "{detail}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(node.sh("pgrep -fl '[s]leep 432'"), "", "a program goes on in the guest");
    });
}

#[test]
fn a_client_that_goes_away_ends_its_program_in_the_guest() {
    story(async |lab| {
        let node = node_with_guests(&lab, "");
        let key = channel_key(&node);
        for drop_connection in [false, true] {
            let channel = connect(&node, &key).await;
            let request = Request::new(exec(101, &["/bin/sh", "-c", "echo up; sleep 4323"]));
            let limits = CallLimits::for_verb(&request.verb);
            let (told, up) = tokio::sync::oneshot::channel();
            let mut told = Some(told);
            let mut hear = |_: Stream, _: &str| {
                if let Some(told) = told.take() {
                    let _ = told.send(());
                }
            };
            tokio::select! {
                ended = channel.call(&request, &[], limits, &mut hear) => panic!("{ended:?}"),
                _ = up => {}
            }
            // The call is dropped, as when its job is cancelled; or the whole connection with it.
            if drop_connection {
                drop(channel);
                eventually_no_program(&node).await;
            } else {
                eventually_no_program(&node).await;
                assert!(channel.hello().await.is_ok(), "the connection itself is still good");
            }
        }

        // sshd dies: the caller learns that the end is not known.
        let channel = connect(&node, &key).await;
        let kill = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            node.sh("pkill -KILL -f 'sshd.*root' ; true");
        };
        let called = call(&channel, exec(101, &["/bin/sleep", "4323"]), &[]);
        let ((_, lost), ()) = tokio::join!(called, kill);
        let lost = lost.unwrap_err();
        assert!(lost.class() == ErrorClass::Transient, "{lost:?}");
        eventually_no_program(&node).await;
    });
}

async fn eventually_no_program(node: &Node) {
    let begun = Instant::now();
    loop {
        let left = node.sh("pgrep -fl '[s]leep 4323'");
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{left}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn guests_that_are_not_ours_and_arguments_that_lead_elsewhere_are_refused() {
    story(async |lab| {
        let node = node_with_guests(&lab, "");
        let channel = connect(&node, &channel_key(&node)).await;
        for (guest, expected) in
            [(102, Rule::Tag), (103, Rule::Pool), (999, Rule::Guest), (100_000, Rule::Guest)]
        {
            for verb in [
                exec(guest, &["/bin/true"]),
                push(guest, "/x", FileMode::PUBLIC, 0),
                Verb::Pull { vmid: vmid(guest), path: "/etc/passwd".to_owned(), most: 9 },
                Verb::RemoveStaged { vmid: vmid(guest) },
                Verb::SetFeatures { vmid: vmid(guest), features: vec![] },
                Verb::SetDevices { vmid: vmid(guest), devices: vec![] },
                Verb::Unbind { vmid: vmid(guest), slot: 0 },
                Verb::Template { vmid: vmid(guest) },
                Verb::Unlock { vmid: vmid(guest) },
            ] {
                let name = verb.name();
                assert_eq!(rule(call(&channel, verb, &[]).await.1), expected, "{name} {guest}");
            }
        }
        // The marks are looked up anew each time.
        node.sh("sed -i 's/^tags:.*/tags: none/' /etc/pve/local/lxc/101.conf");
        assert_eq!(rule(call(&channel, exec(101, &["/bin/true"]), &[]).await.1), Rule::Tag);
        node.sh("sed -i 's/^tags:.*/tags: ironhatch/' /etc/pve/local/lxc/101.conf");
        node.sh("rm /run/lxc/101");
        let stopped = call(&channel, exec(101, &["/bin/true"]), &[]).await.1;
        assert_eq!(stopped.as_ref().unwrap_err().class(), ErrorClass::Transient);
        assert_eq!(rule(stopped), Rule::State);
        assert_eq!(
            rule(call(&channel, push(101, "/x", FileMode::PUBLIC, 1), b"x").await.1),
            Rule::State
        );
        let calls = node.sh("grep -E '10[23]|999|100000' /run/pct.log");
        assert_eq!(calls, "", "a command concerned a foreign guest");
    });
}

#[test]
fn settings_of_a_guest_become_exactly_what_was_asked() {
    story(async |lab| {
        let node = node_with_guests(&lab, "PCT_DEV=/run/dev\nPCT_ZPOOLS=/run/zpools");
        node.sh("mkdir -p /run/dev/dri /run/tank/media /run/secret; touch /run/dev/dri/renderD128; ln -s /run/secret /run/tank/link");
        let channel = connect(&node, &channel_key(&node)).await;
        let conf = || node.sh("cat /etc/pve/local/lxc/101.conf");

        let features = |features: &[Feature]| Verb::SetFeatures {
            vmid: vmid(101),
            features: features.to_vec(),
        };
        assert_eq!(rule(call(&channel, features(&[Feature::Keyctl]), &[]).await.1), Rule::State);
        must(&channel, features(&[Feature::Nesting]), &[]).await; // as it is: nothing to do, and it may run
        node.sh("rm /run/lxc/101");
        must(&channel, features(&[Feature::Keyctl, Feature::Nesting]), &[]).await;
        assert!(conf().contains("features: keyctl=1,nesting=1\n"), "{}", conf());
        must(&channel, features(&[]), &[]).await;
        assert!(!conf().contains("features"), "{}", conf());

        let device = |path: &str| ironhatch::proto::verb::DeviceEntry {
            path: path.to_owned(),
            uid: 0,
            gid: 992,
            mode: FileMode::PRIVATE,
        };
        node.sh("sed -i '$adev3: /dev/net/tun' /etc/pve/local/lxc/101.conf");
        let devices = |paths: &[&str]| Verb::SetDevices {
            vmid: vmid(101),
            devices: paths.iter().map(|p| device(p)).collect(),
        };
        must(&channel, devices(&["/dev/dri/renderD128"]), &[]).await;
        let seen = conf();
        assert!(seen.contains("dev0: /dev/dri/renderD128,gid=992,mode=0600,uid=0\n"), "{seen}");
        assert!(seen.contains("dev3: /dev/net/tun\n"), "what is no GPU is not ours: {seen}");
        match call(&channel, devices(&["/dev/dri/renderD128", "/dev/kfd"]), &[]).await.1 {
            Err(ChannelError::Failed { detail }) => {
                assert!(detail.contains("Device /dev/kfd does not exist"), "{detail}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(conf(), seen, "a failed change left something behind");
        must(&channel, devices(&[]), &[]).await;
        assert!(!conf().contains("dev0"), "{}", conf());

        let bind = |source: &str, read_only| Verb::BindMount {
            vmid: vmid(101),
            slot: 4,
            source: source.to_owned(),
            path: "/media".to_owned(),
            read_only,
        };
        for source in [
            "/run/secret",
            "/run/tank/link",
            "/run",
            "/etc/pve/priv",
            "/run/tank/none",
            "/run/tankx",
        ] {
            assert_eq!(
                rule(call(&channel, bind(source, true), &[]).await.1),
                Rule::Argument,
                "{source}"
            );
        }
        must(&channel, bind("/run/tank/media", true), &[]).await;
        assert!(conf().contains("mp4: /run/tank/media,mp=/media,ro=1\n"), "{}", conf());
        must(&channel, Verb::Unbind { vmid: vmid(101), slot: 4 }, &[]).await;
        assert!(!conf().contains("mp4"), "{}", conf());

        must(&channel, Verb::Unlock { vmid: vmid(101) }, &[]).await;
        node.sh("sed -i '1ilock: backup' /etc/pve/local/lxc/101.conf");
        must(&channel, Verb::Unlock { vmid: vmid(101) }, &[]).await;
        assert!(!conf().contains("lock"), "{}", conf());
        must(&channel, Verb::Template { vmid: vmid(101) }, &[]).await;
        must(&channel, Verb::Template { vmid: vmid(101) }, &[]).await;
        assert!(conf().contains("template: 1\n"), "{}", conf());

        pools(&node, &channel).await;
        match must(&channel, Verb::DriverCheck, &[]).await.answer {
            Some(Answer::Gpu { .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

async fn pools(node: &Node, channel: &ironhatch::node::Channel) {
    let listed = |answer| match answer {
        Some(Answer::Pools { pools }) => pools,
        other => panic!("{other:?}"),
    };
    assert!(listed(must(channel, Verb::ImportablePools, &[]).await.answer).is_empty());
    node.sh(
        "printf '   pool: tank\\n     id: 77\\n  state: ONLINE\\nstatus: The pool was last accessed by another system.\\n config:\\n\\n   pool: rpool-OLD-9\\n     id: 78\\n  state: ONLINE\\n' >/run/zpools",
    );
    let pools = listed(must(channel, Verb::ImportablePools, &[]).await.answer);
    assert_eq!(pools.len(), 2);
    let import = |name: &str, id, foreign| Verb::ImportPool { name: name.to_owned(), id, foreign };
    assert_eq!(rule(call(channel, import("rpool-OLD-9", 78, true), &[]).await.1), Rule::Argument);
    assert_eq!(rule(call(channel, import("tank", 78, true), &[]).await.1), Rule::Argument);
    assert_eq!(rule(call(channel, import("tank", 77, false), &[]).await.1), Rule::State);
    must(channel, import("tank", 77, true), &[]).await;
    must(channel, import("tank", 77, true), &[]).await;
    assert_eq!(node.sh("cat /run/zpools.imported"), "tank\t77\n");
}

/// Runs OpenSSH's own client with the channel's key.
fn ssh(node: &Node, key: &str, arguments: &[&str], stdin: &[u8]) -> Output {
    use std::io::Write as _;
    let mut child = Command::new("ssh")
        .args(["-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=INFO",
        ])
        .args(["-o", "ConnectTimeout=10", "-o", "ExitOnForwardFailure=yes"])
        .args(arguments.iter().take_while(|a| **a != "--"))
        .arg(format!("root@{}", node.address))
        .args(arguments.iter().skip_while(|a| **a != "--").skip(1))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("ssh");
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn the_stolen_key_opens_no_shell_no_forwarding_and_no_other_verb() {
    story(async |lab| {
        let node = node_with_guests(&lab, "");
        let key = channel_key(&node);
        let dir = tempfile::tempdir().unwrap();
        let file = key_file(dir.path(), &key);
        let text = |output: &Output| {
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr)
        };

        // Any command, also by the environment that sshd sets for forced commands.
        for command in [
            "touch /run/owned",
            "/bin/sh -i",
            "ironhatch node serve --pool other",
            "scp -t /run",
            "",
        ] {
            let output = ssh(&node, &file, &["--", command], b"touch /run/owned\nid\n");
            let said = text(&output);
            assert!(said.contains(r#""frame":"refused","rule":"malformed""#), "{command}: {said}");
            assert!(!said.contains("uid=0"), "{command}: {said}");
            assert_eq!(output.status.code(), Some(3), "{command}");
        }
        // A terminal is not given, a subsystem is our agent too, and nothing is forwarded.
        let said = text(&ssh(&node, &file, &["-tt", "--"], b"id\n"));
        assert!(said.contains("PTY allocation request failed"), "{said}");
        let said = text(&ssh(&node, &file, &["-s", "--", "sftp"], b"\0\0\0\x05\x01\0\0\0\x03"));
        assert!(said.contains("refused") || said.contains("subsystem request failed"), "{said}");
        for forward in ["-W127.0.0.1:22", "-R0:127.0.0.1:22"] {
            let output = ssh(&node, &file, &[forward, "-N", "--"], b"");
            assert!(!output.status.success(), "{forward}: {}", text(&output));
        }
        assert_eq!(node.sh("ls /run/owned 2>/dev/null"), "");

        // Bytes that are no request, at the agent itself.
        let session =
            Session::connect(&node.target(), &key, Duration::from_secs(10)).await.unwrap();
        let endless = vec![b'x'; 300_000];
        for (bytes, rule) in [
            (b"\n".to_vec(), "malformed"),
            (b"{\"version\":1,\"verb\":\"hello\"".to_vec(), "malformed"),
            (b"{\"version\":1,\"verb\":\"shell\"}\n".to_vec(), "verb"),
            (b"{\"version\":9,\"verb\":\"hello\"}\n".to_vec(), "version"),
            (b"{\"version\":1,\"verb\":\"unlock\",\"vmid\":101,\"pool\":\"x\"}\n".to_vec(), "malformed"),
            (
                b"{\"version\":1,\"verb\":\"pull\",\"vmid\":101,\"path\":\"/../etc/shadow\",\"most\":9}\n".to_vec(),
                "argument",
            ),
            (
                b"{\"version\":1,\"verb\":\"push\",\"vmid\":101,\"path\":\"/x\",\"mode\":\"0644\",\"uid\":0,\"gid\":0,\"size\":9}\nshort".to_vec(),
                "malformed",
            ),
            (endless, "limit"),
        ] {
            let output = session.exec(&["anything"], Some(&bytes), Limits::default()).await.unwrap();
            let said = output.text().into_owned();
            assert!(said.contains(&format!(r#""rule":"{rule}""#)), "{rule}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        session.close().await;
        assert_eq!(node.sh("cat /run/pct.log 2>/dev/null"), "", "something was run");
    });
}
