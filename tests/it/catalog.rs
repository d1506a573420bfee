//! The catalog's sources, and the publishing of service definitions, against real Git servers.

mod publish;
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironhatch::apps::{BuiltIn, FilesError, Library, RefreshError};
use ironhatch::config::apps::{CatalogSource, GitRemote, SourceLocation};
use ironhatch::domain::app::{AppId, Catalog};
use ironhatch::domain::time::Timestamp;
use tokio_util::sync::CancellationToken;

use server::{Http, PASSWORD, Repository, Ssh, git};

fn git_source(name: &str, repository: GitRemote, reference: &str) -> CatalogSource {
    let location = SourceLocation::Git {
        repository,
        reference: reference.to_owned(),
        refresh: Some(Duration::from_secs(1)),
    };
    CatalogSource { name: name.to_owned(), location, allow_privileged: false }
}

fn folder_source(name: &str, dir: &Path) -> CatalogSource {
    let location = SourceLocation::Folder(dir.to_owned());
    CatalogSource { name: name.to_owned(), location, allow_privileged: false }
}

async fn open(data_dir: &Path, sources: Vec<CatalogSource>) -> Library {
    let clock = Arc::new(|| Timestamp(1_700_000_000_000));
    Library::of(data_dir, &sources, BuiltIn::Withheld, clock).await
}

fn manifest(id: &str, version: &str, more: &str) -> String {
    format!(
        "id = \"{id}\"\nname = \"{id}\"\nversion = \"{version}\"\ndescription = \"A test.\"\n\
         categories = [\"Tests\"]\n[lxc]\nostemplate = \"debian-12\"\n{more}\n[provision]\n"
    )
}

fn write_app(dir: &Path, id: &str, version: &str, more: &str) {
    let dir = dir.join(id);
    fs::create_dir_all(dir.join("provision")).unwrap();
    fs::write(dir.join("app.toml"), manifest(id, version, more)).unwrap();
    fs::write(dir.join("README.md"), format!("# {id}\n")).unwrap();
    fs::write(dir.join("provision/install.sh"), "#!/bin/bash\nset -eu\n").unwrap();
}

fn id(text: &str) -> AppId {
    text.parse().unwrap()
}

fn names(catalog: &Catalog) -> Vec<&str> {
    catalog.apps.iter().map(|a| a.manifest.id.as_str()).collect()
}

fn broken(catalog: &Catalog) -> Vec<(&str, String)> {
    catalog.broken.iter().map(|b| (b.folder.as_str(), b.problems.join("; "))).collect()
}

/// Every file below a folder that has these bytes in it.
fn files_with(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_over_http_survives_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let repository = Repository::new(dir.path(), "apps.git");
    write_app(&repository.work().join("apps"), "alpha", "1.0.0", "");
    write_app(&repository.work().join("apps"), "beta", "1.0.0", "");
    repository.write("apps/broken/app.toml", "id = \"broken\"\n");
    std::os::unix::fs::symlink("/etc/passwd", repository.work().join("apps/beta/passwd")).unwrap();
    let commit = repository.commit("Apps");
    let server = Http::start(dir.path()).await;
    let remote = server.remote(&repository);

    let library = open(&data, vec![git_source("forge", remote.clone(), "main")]).await;
    assert_eq!(names(&library.catalog()), Vec::<&str>::new());
    let status = &library.catalog().sources[0];
    assert_eq!(status.problem.as_deref(), Some("it was not fetched yet"));

    library.refresh("forge").await.unwrap();
    let catalog = library.catalog();
    assert_eq!(names(&catalog), ["alpha"]);
    assert_eq!(catalog.sources[0].commit.as_deref(), Some(commit.as_str()));
    assert_eq!(catalog.sources[0].problem, None);
    let problems = broken(&catalog);
    assert_eq!(problems.len(), 2);
    assert_eq!(
        problems[0],
        ("beta", "beta/passwd: is a symbolic link, which an app cannot have".to_owned())
    );
    assert!(problems[1].1.contains("broken/app.toml:1:1: name: is missing"), "{}", problems[1].1);
    let alpha = catalog.get(&id("alpha")).unwrap();
    assert_eq!(alpha.readme, "# alpha\n");
    assert_eq!(alpha.provenance.commit.as_deref(), Some(commit.as_str()));
    assert!(!alpha.provenance.exercised);
    let first = alpha.provenance.hash.clone();
    let since = alpha.provenance.updated.unwrap();
    assert!(since.0 > 0 && !alpha.provenance.icon);

    // The version in use is kept; the repository moves on.
    assert_eq!(library.keep(&first).await.unwrap().manifest.version, "1.0.0");
    // A commit that does not concern the app does not make it newer; one that does, does.
    write_app(&repository.work().join("apps"), "gamma", "1.0.0", "");
    repository.commit_at("Gamma", since.0 / 1000 + 1000);
    library.refresh("forge").await.unwrap();
    let catalog = library.catalog();
    let updated = |id_: &str| catalog.get(&id(id_)).unwrap().provenance.updated.unwrap();
    assert_eq!((updated("alpha"), updated("gamma").0), (since, since.0 + 1_000_000));
    write_app(&repository.work().join("apps"), "alpha", "1.1.0", "");
    fs::write(repository.work().join("apps/alpha/icon.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    repository.commit_at("Alpha 1.1.0", since.0 / 1000 + 2000);
    library.refresh("forge").await.unwrap();
    let alpha = library.catalog().get(&id("alpha")).unwrap().provenance.clone();
    assert_eq!(alpha.updated.unwrap().0, since.0 + 2_000_000);
    assert!(alpha.icon && library.files(&alpha.hash).await.unwrap().icon().is_some());
    let second = library.catalog().get(&id("alpha")).unwrap().provenance.hash.clone();
    assert_ne!(first, second);
    assert_eq!(library.files(&first).await.unwrap().manifest.version, "1.0.0");
    assert_eq!(library.files(&second).await.unwrap().manifest.version, "1.1.0");

    // The password changes: the apps stay, and the status says why it is old.
    let mut wrong = remote.clone();
    wrong.password = Some(ironhatch::domain::secret::Secret::new("other-planted".to_owned()));
    let locked_out = open(&data, vec![git_source("forge", wrong, "main")]).await;
    let error = locked_out.refresh("forge").await.unwrap_err().to_string();
    assert!(error.contains("Authentication failed") || error.contains("401"), "{error}");
    assert!(!error.contains("other-planted"), "{error}");
    assert_eq!(names(&locked_out.catalog()), ["alpha", "gamma"]);
    assert!(locked_out.catalog().sources[0].problem.is_some());

    // The server is gone, and the appliance starts again.
    drop(server);
    let offline = open(&data, vec![git_source("forge", remote.clone(), "main")]).await;
    assert_eq!(names(&offline.catalog()), ["alpha", "gamma"]);
    assert!(matches!(offline.refresh("forge").await, Err(RefreshError::Failed { .. })));
    let status = offline.catalog().sources[0].clone();
    assert!(status.problem.unwrap().contains("git fetch failed"), "the reason is shown");
    assert!(status.refreshed.is_some());
    assert_eq!(names(&offline.catalog()), ["alpha", "gamma"]);

    // The source is taken out of the configuration: what is in use can still be upgraded and removed.
    let without = open(&data, Vec::new()).await;
    assert_eq!(without.files(&first).await.unwrap().manifest.version, "1.0.0");
    assert!(matches!(without.files(&second).await, Err(FilesError::Gone { .. })));
    let hour = Duration::from_secs(3600);
    without.prune(BTreeSet::new(), hour).await.unwrap();
    assert!(without.files(&first).await.is_ok(), "a copy that was just made stays for a while");
    without.prune(BTreeSet::from([first.clone()]), Duration::ZERO).await.unwrap();
    assert!(without.files(&first).await.is_ok(), "what is in use stays");
    without.prune(BTreeSet::new(), Duration::ZERO).await.unwrap();
    assert!(matches!(without.files(&first).await, Err(FilesError::Gone { .. })));

    let encoded = "Zm9yZ2UtdXNlcjpwbGFudGVkLWZvcmdlLXBhc3N3b3Jk";
    for secret in [PASSWORD, encoded] {
        assert_eq!(files_with(&data, secret), Vec::<PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_over_ssh_is_known_by_its_host_key() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::new(dir.path(), "apps.git");
    write_app(&repository.work().join("apps"), "alpha", "1.0.0", "");
    let first = repository.commit("Alpha");
    git(repository.work(), &["tag", "-a", "-m", "The first", "v1"]);
    git(repository.work(), &["push", "-q", "origin", "v1"]);
    write_app(&repository.work().join("apps"), "beta", "1.0.0", "");
    repository.commit("Beta");
    let server = Ssh::start(dir.path());
    let remote = server.remote(&repository);

    let sources = vec![
        git_source("branch", remote.clone(), "main"),
        git_source("tag", remote.clone(), "v1"),
        git_source("commit", remote.clone(), &first),
    ];
    let data = dir.path().join("data");
    let library = open(&data, sources).await;
    for (name, expected) in [("branch", 2), ("tag", 1), ("commit", 1)] {
        library.refresh(name).await.unwrap();
        let catalog = library.catalog();
        let status = catalog.sources.iter().find(|s| s.name == name).unwrap();
        assert_eq!(status.commit.as_deref() == Some(first.as_str()), expected == 1, "{name}");
    }
    assert_eq!(names(&library.catalog()), ["alpha", "beta"]);
    // The key lived only as long as each command.
    assert_eq!(files_with(&data, "OPENSSH PRIVATE KEY"), Vec::<PathBuf>::new());

    let other = Ssh::start(&dir.path().join("data"));
    let mut impostor = remote.clone();
    impostor.ssh_host_key = other.remote(&repository).ssh_host_key;
    let library = open(&dir.path().join("other"), vec![git_source("x", impostor, "main")]).await;
    let error = library.refresh("x").await.unwrap_err().to_string();
    assert!(error.contains("Host key verification failed"), "{error}");
    assert_eq!(names(&library.catalog()), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_refreshed_on_their_schedule() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::new(dir.path(), "apps.git");
    write_app(&repository.work().join("apps"), "alpha", "1.0.0", "");
    repository.commit("Alpha");
    let path = repository.bare.to_str().unwrap().to_owned();
    let remote =
        GitRemote { url: path, user: None, password: None, ssh_key: None, ssh_host_key: None };
    let library = open(&dir.path().join("data"), vec![git_source("local", remote, "main")]).await;
    let mut seen = library.watch();
    let stop = CancellationToken::new();
    let running = tokio::spawn(library.clone().run(stop.clone()));
    let wait = Duration::from_secs(60);
    let has = |name: &'static str| move |c: &Arc<Catalog>| c.get(&id(name)).is_some();
    tokio::time::timeout(wait, seen.wait_for(has("alpha"))).await.unwrap().unwrap();
    write_app(&repository.work().join("apps"), "beta", "1.0.0", "");
    repository.commit("Beta");
    tokio::time::timeout(wait, seen.wait_for(has("beta"))).await.unwrap().unwrap();
    stop.cancel();
    tokio::time::timeout(wait, running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_folders_hide_nobody() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let apps = dir.path().join("shelf/apps");
    write_app(&apps, "good", "1.0.0", "");
    write_app(&apps, "privileged", "1.0.0", "[lxc.defaults]\nunprivileged = false");
    for name in ["huge", "pipe", "names", "many", "deep", "total"] {
        write_app(&apps, name, "1.0.0", "");
    }
    fs::write(apps.join("huge/assets.bin"), vec![0_u8; 1024 * 1024 + 1]).unwrap();
    nix::unistd::mkfifo(&apps.join("pipe/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::write(apps.join("names").join(std::ffi::OsStr::from_bytes(b"\xff\xfe.sh")), "x").unwrap();
    for number in 0..300 {
        fs::write(apps.join(format!("many/f{number}")), "x").unwrap();
    }
    fs::create_dir_all(apps.join("deep/a/b/c/d/e/f/g/h")).unwrap();
    for number in 0..10 {
        fs::write(apps.join(format!("total/f{number}")), vec![0_u8; 1024 * 1024]).unwrap();
    }
    std::os::unix::fs::symlink(apps.join("good"), apps.join("linked")).unwrap();
    fs::write(apps.join("stray-file"), "x").unwrap();
    fs::create_dir(apps.join(".hidden")).unwrap();

    let sources = vec![folder_source("shelf", &dir.path().join("shelf"))];
    let library = open(&dir.path().join("data"), sources).await;
    let catalog = library.catalog();
    assert_eq!(names(&catalog), ["good"]);
    let problems = broken(&catalog);
    let of = |name: &str| &problems.iter().find(|(n, _)| *n == name).expect(name).1;
    for (name, words) in [
        ("deep", "is deeper than 6 folders"),
        ("huge", "huge/assets.bin: has more than 1048576 bytes"),
        ("linked", "is not a folder"),
        ("many", "has more than 200 files"),
        ("names", "whose name is not UTF-8"),
        ("pipe", "pipe/fifo: is neither a file nor a folder"),
        ("privileged", "allow_privileged"),
        ("total", "has more than 8388608 bytes"),
    ] {
        assert!(of(name).contains(words), "{name}: {}", of(name));
    }
    assert_eq!(problems.len(), 8);

    // The folder vanishes: what was known stays listed, with the reason.
    fs::remove_dir_all(dir.path().join("shelf")).unwrap();
    assert!(library.refresh("shelf").await.is_err());
    assert_eq!(names(&library.catalog()), ["good"]);
    assert!(library.catalog().sources[0].problem.as_ref().unwrap().contains("cannot be read"));
    assert!(matches!(library.refresh("nobody").await, Err(RefreshError::Unknown { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_apps_with_one_name_the_first_source_counts() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("a/apps"), "same", "1.0.0", "");
    write_app(&dir.path().join("b/apps"), "same", "2.0.0", "");
    let sources =
        vec![folder_source("b", &dir.path().join("b")), folder_source("a", &dir.path().join("a"))];
    let library = open(&dir.path().join("data"), sources).await;
    let catalog = library.catalog();
    assert_eq!(catalog.get(&id("same")).unwrap().manifest.version, "2.0.0");
    assert_eq!(catalog.apps.len(), 1);
}

#[test]
fn the_linter_is_a_command_without_an_appliance() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ironhatch"))
            .args(["app", "lint"])
            .args(arguments)
            .current_dir(&fixtures)
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["ok"]);
    assert_eq!(code, 0);
    assert!(text.contains("ok/whole: ok, version 1.2.0, hash "), "{text}");
    let (code, text) = run(&["fail/paths", "ok/whole"]);
    assert_eq!(code, 1);
    assert!(
        text.contains("fail/paths/app.toml:11:1: provision.script: \"../install.sh\""),
        "{text}"
    );
    let (code, text) = run(&["--json", "fail/paths"]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["apps"][0]["problems"][0]["line"], 11);
    assert_eq!(report["apps"][0]["problems"][0]["key"], "provision.script");
    assert_eq!(run(&["ok/whole/assets"]).0, 2);
    assert_eq!(run(&["nowhere"]).0, 2);
}
