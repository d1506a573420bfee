//! Tests of what `git` is told and what is refused before it. Servers are in `tests/it/catalog.rs`.

use super::*;
use crate::config::apps::GitRemote;
use crate::domain::secret::Secret;

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f comment";

fn remote(url: &str) -> GitRemote {
    GitRemote {
        url: url.to_owned(),
        user: None,
        password: None,
        ssh_key: Some(Secret::new("key".to_owned())),
        ssh_host_key: Some(HOST_KEY.to_owned()),
    }
}

#[test]
fn addresses_that_git_or_ssh_would_read_as_more_are_refused() {
    for good in [
        "https://git.example.net/apps.git",
        "http://192.0.2.1:3000/x/y",
        "ssh://git@git.example.net:2222/apps.git",
        "ssh://[2001:db8::1]/apps.git",
        "git@git.example.net:apps.git",
        "git@git.example.net:/srv/apps.git",
        "/srv/apps.git",
    ] {
        assert!(Remote::new(&remote(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x",
        "ext::sh -c id",
        "file:///srv/apps.git",
        "git://git.example.net/x",
        "ftp://git.example.net/x",
        "apps.git",
        "../apps.git",
        "/srv/../etc",
        "ssh://-oProxyCommand=x/y",
        "ssh://-u@host/y",
        "ssh://user:secret@host/y",
        "-u@host:x",
        "u@-h:x",
        "https://user:hunter2@git.example.net/x",
        "https://user@git.example.net/x",
        "https://git.example.net/x?y",
        "https://git.example.net/x\ny",
        "https://git example.net/x",
    ] {
        let error = Remote::new(&remote(bad)).expect_err(bad);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(error.class(), ErrorClass::Denied);
    }
}

#[test]
fn ssh_needs_a_key_and_a_pinned_host_key() {
    let url = "git@git.example.net:apps.git";
    let without = |change: fn(&mut GitRemote)| {
        let mut remote = remote(url);
        change(&mut remote);
        Remote::new(&remote).unwrap_err().to_string()
    };
    assert!(without(|r| r.ssh_key = None).contains("ssh_key"));
    assert!(without(|r| r.ssh_host_key = None).contains("ssh_host_key"));
    assert!(without(|r| r.ssh_host_key = Some("nonsense".into())).contains("ssh_host_key"));
    assert!(without(|r| r.ssh_host_key = Some("ssh-ed25519 !!!".into())).contains("ssh_host_key"));
}

#[test]
fn references_are_plain_names() {
    for good in ["main", "release/1.x", "v1.2.0", "0123456789abcdef0123456789abcdef01234567"] {
        assert!(is_reference(good), "{good}");
    }
    for bad in [
        "",
        "-x",
        "--upload-pack=x",
        "+main",
        "main:other",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a@{1}",
        "*",
        "a/",
        "/a",
        "a.lock",
        ".a",
        "a/.b",
        "a//b",
        "a\nb",
    ] {
        assert!(!is_reference(bad), "{bad}");
    }
}

#[tokio::test]
async fn nothing_of_the_users_configuration_counts() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path().join("private"));
    let repository = dir.path().join("r.git");
    git.init(&repository).await.unwrap();
    git.init(&repository).await.unwrap();
    let listed = git.run(Call::new(&repository, ["config", "--list", "--show-scope"])).await;
    let listed = listed.unwrap().text();
    for line in listed.lines() {
        assert!(line.starts_with("local\t") || line.starts_with("command\t"), "{line}");
    }
    assert!(listed.contains("core.hookspath=/dev/null"), "{listed}");
}

#[tokio::test]
async fn failures_have_a_class_and_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path().join("private"));
    let repository = dir.path().join("r.git");
    git.init(&repository).await.unwrap();
    let error = git
        .run(Call::new(&repository, ["rev-parse", "--verify", "refs/heads/x"]))
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("git rev-parse failed: "), "{error}");

    let gone = Remote::new(&remote("/nowhere/at/all.git")).unwrap();
    let mut fetch = Call::new(&repository, ["fetch", "--", gone.url(), "main"]);
    fetch.remote = Some(&gone);
    assert_eq!(git.run(fetch).await.unwrap_err().class(), ErrorClass::Denied);

    // Port 1 of this machine: nobody listens.
    let closed = Remote::new(&remote("http://127.0.0.1:1/x.git")).unwrap();
    let mut fetch = Call::new(&repository, ["fetch", "--", closed.url(), "main"]);
    fetch.remote = Some(&closed);
    let error = git.run(fetch).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error}");

    // Without a remote no protocol is allowed, whatever the arguments say.
    let path = repository.display().to_string();
    let sneaky = Call::new(&repository, ["ls-remote", "--", &path]);
    let error = git.run(sneaky).await.unwrap_err();
    assert!(error.to_string().contains("not allowed"), "{error}");
}

#[tokio::test]
async fn output_and_time_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path().join("private"));
    let repository = dir.path().join("r.git");
    git.init(&repository).await.unwrap();
    let mut hash = Call::new(&repository, ["hash-object", "-w", "--stdin"]);
    hash.input = vec![b'x'; 500_000];
    let blob = git.run(hash).await.unwrap().text();
    let error = git.run(Call::new(&repository, ["cat-file", "blob", &blob])).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuchOutput { .. }), "{error}");

    // More than a pipe holds: it cannot have ended when it is first looked at.
    let mut slow = Call::new(&repository, ["hash-object", "--stdin"]);
    slow.input = vec![b'x'; 32 << 20];
    slow.limit = Duration::ZERO;
    assert!(matches!(git.run(slow).await.unwrap_err(), GitError::Timeout { .. }));
}
