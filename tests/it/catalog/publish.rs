//! Publishing of service definitions.

use std::path::Path;

use ironhatch::apps::publish::{PublishError, Publisher};
use ironhatch::config::apps::{CommitMode, GitRemote, Services};
use ironhatch::domain::fault::ErrorClass;
use ironhatch::domain::secret::Secret;
use ironhatch::plan::service::{self, DEFAULT_FILE_NAME, DEFAULT_TEMPLATE, Definition, Service};

use super::server::{Http, Repository, Ssh};

fn services(repository: GitRemote, mode: CommitMode) -> Services {
    Services {
        repository,
        branch: "main".to_owned(),
        mode,
        path: "services".to_owned(),
        file_name: DEFAULT_FILE_NAME.to_owned(),
        template: DEFAULT_TEMPLATE.to_owned(),
        author: "Ironhatch <ironhatch@example.net>".to_owned(),
        headers: true,
        auth: false,
    }
}

fn definition(name: &str, domain: &str, port: u16) -> Definition {
    let service = Service {
        name: name.to_owned(),
        domain: domain.to_owned(),
        address: "192.0.2.7".parse().unwrap(),
        port,
        headers: true,
        auth: false,
        public: false,
        health_path: None,
    };
    service::definition(DEFAULT_TEMPLATE, "services", DEFAULT_FILE_NAME, &service).unwrap()
}

/// A repository as a site has it: definitions written by hand, and other things.
fn site(dir: &Path) -> Repository {
    let repository = Repository::new(dir, "site.git");
    repository.write("README.md", "The site\n");
    repository.write("services/hand.yaml", "name: hand\ndomain: hand.example.net\n");
    repository.write("services/odd.yaml", "domain: [odd.example.net\n  broken {");
    repository.write("other/not-a-service.yaml", "domain: elsewhere.example.net\n");
    repository.commit("The site");
    repository
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_comes_and_goes_over_ssh() {
    let dir = tempfile::tempdir().unwrap();
    let repository = site(dir.path());
    let server = Ssh::start(dir.path());
    let configured = services(server.remote(&repository), CommitMode::Direct);
    let publisher = Publisher::new(&dir.path().join("data"), &configured).unwrap();

    let taken = publisher.taken_domains().await.unwrap();
    assert_eq!(taken.get("hand.example.net").map(String::as_str), Some("services/hand.yaml"));
    assert_eq!(taken.get("odd.example.net").map(String::as_str), Some("services/odd.yaml"));
    assert!(!taken.contains_key("elsewhere.example.net"));

    let wiki = definition("wiki", "wiki.example.net", 8080);
    let before = repository.ask(&["rev-parse", "main"]);
    let published = publisher.publish(&wiki).await.unwrap();
    assert_eq!(published.branch, "main");
    assert_eq!(repository.ask(&["rev-parse", "main"]), published.commit);
    assert_eq!(repository.show("main", "services/wiki.yaml").unwrap(), wiki.text);
    assert_eq!(repository.ask(&["diff", "--name-only", &before, "main"]), "services/wiki.yaml");
    assert_eq!(
        repository.ask(&["log", "-1", "--format=%an <%ae> %s %P", "main"]),
        format!("Ironhatch <ironhatch@example.net> Publish wiki.example.net for wiki {before}")
    );
    assert_eq!(publisher.publish(&wiki).await.unwrap(), published);
    assert_eq!(repository.ask(&["rev-list", "--count", "main"]), "2");

    // Another port, and a second guest that wants what is taken.
    publisher.publish(&definition("wiki", "wiki.example.net", 9090)).await.unwrap();
    assert!(repository.show("main", "services/wiki.yaml").unwrap().contains("192.0.2.7:9090"));
    for (name, domain) in [("blog", "wiki.example.net"), ("blog", "hand.example.net")] {
        let error = publisher.publish(&definition(name, domain, 80)).await.unwrap_err();
        assert!(matches!(error, PublishError::Taken { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Denied);
    }
    let error = publisher.publish(&definition("hand", "new.example.net", 80)).await.unwrap_err();
    assert!(matches!(error, PublishError::Foreign { .. }), "{error}");
    let error = publisher.withdraw("services/hand.yaml", "hand").await.unwrap_err();
    assert!(matches!(error, PublishError::Foreign { .. }), "{error}");
    for file in ["other/x.yaml", "services/../README.md", "README.md", "/etc/passwd", "services"] {
        let error = publisher.withdraw(file, "wiki").await.unwrap_err();
        assert!(matches!(error, PublishError::Configuration(_)), "{file}: {error}");
    }

    publisher.withdraw("services/wiki.yaml", "wiki").await.unwrap();
    assert_eq!(repository.show("main", "services/wiki.yaml"), None);
    let gone = publisher.withdraw("services/wiki.yaml", "wiki").await.unwrap();
    assert_eq!(repository.ask(&["rev-parse", "main"]), gone.commit);
    assert_eq!(repository.ask(&["diff", "--name-only", &before, "main"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_any_branch_gets_the_configured_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Http::start(dir.path()).await;
    for (mode, name) in [(CommitMode::Direct, "direct.git"), (CommitMode::Branch, "branch.git")] {
        let repository = Repository::new(dir.path(), name);
        let configured = services(server.remote(&repository), mode);
        let publisher =
            Publisher::new(&dir.path().join(format!("data-{name}")), &configured).unwrap();
        assert!(publisher.taken_domains().await.unwrap().is_empty());
        assert_eq!(repository.ask(&["for-each-ref"]), "", "looking makes nothing");

        let wiki = definition("wiki", "wiki.example.net", 8080);
        let published = publisher.publish(&wiki).await.unwrap();
        assert_eq!(repository.show(&published.branch, "services/wiki.yaml").unwrap(), wiki.text);
        assert_eq!(repository.ask(&["rev-parse", &published.branch]), published.commit);
        let on_main = repository.show("main", "services/wiki.yaml").is_some();
        assert_eq!(on_main, mode == CommitMode::Direct);
        assert_eq!(
            repository.ask(&["log", "--format=%s", "--reverse", "main"]).lines().next(),
            Some("Begin")
        );
    }

    // A branch that is missing among others is a mistake in the configuration, and nothing is made.
    let repository = site(dir.path());
    let mut configured = services(server.remote(&repository), CommitMode::Direct);
    configured.branch = "live".to_owned();
    let publisher = Publisher::new(&dir.path().join("data-other"), &configured).unwrap();
    let error = publisher.publish(&definition("wiki", "wiki.example.net", 80)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "apps.services: the repository has no branch \"live\"; it has main"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_lost_the_race_is_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let repository = site(dir.path());
    let server = Http::start(dir.path()).await;
    let configured = services(server.remote(&repository), CommitMode::Direct);
    let publisher = Publisher::new(&dir.path().join("data"), &configured).unwrap();
    for number in 0..2 {
        let other = repository.clone();
        server.before_next_push(move || {
            other.write(&format!("services/person{number}.yaml"), "name: person\n");
            other.commit("In between");
        });
    }
    publisher.publish(&definition("wiki", "wiki.example.net", 80)).await.unwrap();
    let files = repository.ask(&["ls-tree", "--name-only", "main", "services/"]);
    for file in ["hand", "odd", "person0", "person1", "wiki"] {
        assert!(files.contains(&format!("services/{file}.yaml")), "{files}");
    }
    assert_eq!(repository.ask(&["rev-list", "--count", "--merges", "main"]), "0");

    // Somebody takes the domain while we are about to push it.
    let other = repository.clone();
    server.before_next_push(move || {
        other.write("services/faster.yaml", "domain: blog.example.net\n");
        other.commit("Faster");
    });
    let error = publisher.publish(&definition("blog", "blog.example.net", 80)).await.unwrap_err();
    assert!(matches!(&error, PublishError::Taken { file, .. } if file == "services/faster.yaml"));
    assert_eq!(repository.show("main", "services/blog.yaml"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_appliances_publish_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let repository = site(dir.path());
    let server = Http::start(dir.path()).await;
    let configured = services(server.remote(&repository), CommitMode::Direct);
    let all = (0..2).map(|appliance| {
        let data = dir.path().join(format!("data{appliance}"));
        let publisher = Publisher::new(&data, &configured).unwrap();
        async move {
            for number in 0..3 {
                let name = format!("app{appliance}-{number}");
                let wanted = definition(&name, &format!("{name}.example.net"), 80);
                publisher.publish(&wanted).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(all).await;
    assert_eq!(repository.ask(&["rev-list", "--count", "main"]), "7");
    let files = repository.ask(&["ls-tree", "--name-only", "main", "services/"]);
    assert_eq!(files.lines().filter(|l| l.contains("/app")).count(), 6, "{files}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_waits_for_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let repository = site(dir.path());
    let server = Http::start(dir.path()).await;
    let configured = services(server.remote(&repository), CommitMode::Branch);
    let publisher = Publisher::new(&dir.path().join("data"), &configured).unwrap();
    let main = repository.ask(&["rev-parse", "main"]);
    let wiki = definition("wiki", "wiki.example.net", 80);

    let published = publisher.publish(&wiki).await.unwrap();
    assert_eq!(published.branch, "ironhatch/wiki");
    assert_eq!(repository.ask(&["rev-parse", "main"]), main);
    assert_eq!(repository.show("ironhatch/wiki", "services/wiki.yaml").unwrap(), wiki.text);
    assert_eq!(publisher.publish(&wiki).await.unwrap(), published);

    // Wanted differently before it was merged: the branch is replaced, it does not grow.
    let later = definition("wiki", "wiki.example.net", 81);
    let replaced = publisher.publish(&later).await.unwrap();
    assert_ne!(replaced.commit, published.commit);
    assert_eq!(repository.ask(&["rev-list", "--count", "main..ironhatch/wiki"]), "1");

    // A person merges it.
    let url = repository.bare.to_str().unwrap().to_owned();
    super::server::git(repository.work(), &["pull", "-q", "--ff", &url, "ironhatch/wiki"]);
    repository.rebase_and_push();
    let merged = publisher.publish(&later).await.unwrap();
    assert_eq!(merged.branch, "main");
    assert_eq!(repository.ask(&["branch", "--list", "ironhatch/*"]), "");

    let withdrawn = publisher.withdraw("services/wiki.yaml", "wiki").await.unwrap();
    assert_eq!(withdrawn.branch, "ironhatch/wiki");
    assert!(repository.show("main", "services/wiki.yaml").is_some());
    assert_eq!(repository.show("ironhatch/wiki", "services/wiki.yaml"), None);

    // Published on a branch and withdrawn before anybody merged: nothing is left.
    publisher.publish(&definition("blog", "blog.example.net", 80)).await.unwrap();
    publisher.withdraw("services/blog.yaml", "blog").await.unwrap();
    assert_eq!(repository.ask(&["branch", "--list", "ironhatch/blog"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_server_have_their_class() {
    let dir = tempfile::tempdir().unwrap();
    let repository = site(dir.path());
    let server = Http::start(dir.path()).await;
    let remote = server.remote(&repository);
    let wiki = definition("wiki", "wiki.example.net", 80);
    let publisher = |remote: GitRemote, name: &str| {
        let data = dir.path().join(name);
        Publisher::new(&data, &services(remote, CommitMode::Direct)).unwrap()
    };

    repository.hook("pre-receive", "#!/bin/sh\necho 'only on weekdays' >&2\nexit 1\n");
    let error = publisher(remote.clone(), "hook").publish(&wiki).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    let text = ironhatch::domain::refusal::with_causes(&error);
    assert!(text.contains("only on weekdays"), "{text}");

    let mut wrong = remote.clone();
    wrong.password = Some(Secret::new("planted-wrong-password".to_owned()));
    let error = publisher(wrong, "wrong").publish(&wiki).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    assert!(!format!("{error:?}").contains("planted"), "{error:?}");

    let mut no_branch = services(remote.clone(), CommitMode::Direct);
    no_branch.branch = "nowhere".to_owned();
    let other = Publisher::new(&dir.path().join("branch"), &no_branch).unwrap();
    assert_eq!(other.publish(&wiki).await.unwrap_err().class(), ErrorClass::Denied);

    drop(server);
    let error = publisher(remote, "down").publish(&wiki).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
}

#[tokio::test]
async fn what_can_never_work_is_refused_at_once() {
    let remote = GitRemote {
        url: "/srv/site.git".to_owned(),
        user: None,
        password: None,
        ssh_key: None,
        ssh_host_key: None,
    };
    let good = services(remote, CommitMode::Direct);
    let dir = tempfile::tempdir().unwrap();
    assert!(Publisher::new(dir.path(), &good).is_ok());
    let refused = |change: fn(&mut Services)| {
        let mut services = good.clone();
        change(&mut services);
        let error = Publisher::new(dir.path(), &services).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied);
    };
    refused(|s| s.branch = "--force".to_owned());
    refused(|s| s.branch = "main:other".to_owned());
    refused(|s| s.path = "../elsewhere".to_owned());
    refused(|s| s.file_name = "{{ name }}/../../x.yaml".to_owned());
    refused(|s| s.template = "domain: {{ domian }}".to_owned());
    refused(|s| s.author = "nobody".to_owned());
    refused(|s| s.author = "A\nB <x@y>".to_owned());
    refused(|s| s.repository.url = "ext::sh -c id".to_owned());
}
