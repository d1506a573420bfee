//! Real Git servers for tests: bare repositories behind OpenSSH and behind `git http-backend` with basic authentication, on
//! loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use ironhatch::config::apps::GitRemote;
use ironhatch::domain::secret::Secret;

/// Runs git as a person would, and returns what it printed.
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    run_git(Command::new("git"), dir, arguments)
}

fn run_git(mut command: Command, dir: &Path, arguments: &[&str]) -> String {
    let output = command
        .args(["-c", "user.name=A Person", "-c", "user.email=person@example.net"])
        .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A bare repository, and the clone of a person who works with it.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) bare: PathBuf,
    work: PathBuf,
}

impl Repository {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let (bare, work) = (dir.join(name), dir.join(format!("{name}-work")));
        git(dir, &["init", "-q", "--bare", bare.to_str().unwrap()]);
        git(dir, &["clone", "-q", bare.to_str().unwrap(), work.to_str().unwrap()]);
        git(&work, &["checkout", "-q", "-B", "main"]);
        Self { bare, work }
    }

    /// Writes files into the person's clone.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.work.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The person's clone, for everything else.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// Commits everything and pushes it on top of what is there; returns the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "-m", message]);
        self.rebase_and_push()
    }

    /// The same at another time, in seconds since 1970.
    pub(crate) fn commit_at(&self, message: &str, seconds: i64) -> String {
        git(&self.work, &["add", "-A"]);
        let mut command = Command::new("git");
        command.env("GIT_COMMITTER_DATE", format!("{seconds} +0000"));
        run_git(command, &self.work, &["commit", "-q", "-m", message]);
        self.rebase_and_push()
    }

    pub(crate) fn rebase_and_push(&self) -> String {
        if !git(&self.work, &["ls-remote", "origin", "refs/heads/main"]).is_empty() {
            git(&self.work, &["pull", "-q", "--rebase", "origin", "main"]);
        }
        git(&self.work, &["push", "-q", "origin", "HEAD:main"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// What a file has on a branch of the server.
    pub(crate) fn show(&self, branch: &str, file: &str) -> Option<String> {
        let output = Command::new("git")
            .args(["show", &format!("{branch}:{file}")])
            .current_dir(&self.bare)
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        git(&self.bare, arguments)
    }

    pub(crate) fn hook(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.bare.join("hooks").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// OpenSSH's server with one key of its own and one that may log in.
pub(crate) struct Ssh {
    port: u16,
    host_key: String,
    client_key: String,
    process: Child,
    dir: PathBuf,
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Ssh {
    pub(crate) fn start(dir: &Path) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "sshd needs its own /run: run this test as root");
        let dir = dir.join("ssh");
        fs::create_dir_all(&dir).unwrap();
        for name in ["host", "client"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(dir.join(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let port = free_port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/client.pub\n\
             StrictModes no\nPidFile none\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nUseDNS no\nLogLevel VERBOSE\n",
            dir.display()
        );
        fs::write(dir.join("config"), config).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd -D -e -f {}",
            dir.join("config").display()
        );
        let process = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        let server =
            Self { port, host_key: read("host.pub"), client_key: read("client"), process, dir };
        let begun = Instant::now();
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = fs::read_to_string(server.dir.join("log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(20), "sshd is not up: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn remote(&self, repository: &Repository) -> GitRemote {
        GitRemote {
            url: format!("ssh://root@127.0.0.1:{}{}", self.port, repository.bare.display()),
            user: None,
            password: None,
            ssh_key: Some(Secret::new(self.client_key.clone())),
            ssh_host_key: Some(self.host_key.trim().to_owned()),
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Interruption = Box<dyn FnOnce() + Send>;

/// `git http-backend` behind basic authentication.
pub(crate) struct Http {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    root: PathBuf,
    before_push: Mutex<Vec<Interruption>>,
}

pub(crate) const USER: &str = "forge-user";
pub(crate) const PASSWORD: &str = "planted-forge-password";

impl Http {
    /// Serves every repository in a folder.
    pub(crate) async fn start(root: &Path) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { root: root.to_owned(), before_push: Mutex::new(Vec::new()) });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum_serve(listener, router).await;
        });
        Self { address, shared, task }
    }

    /// What happens when the next push arrives, before the server looks at it.
    pub(crate) fn before_next_push(&self, act: impl FnOnce() + Send + 'static) {
        self.shared.before_push.lock().unwrap().push(Box::new(act));
    }

    pub(crate) fn remote(&self, repository: &Repository) -> GitRemote {
        let name = repository.bare.file_name().unwrap().to_str().unwrap();
        GitRemote {
            url: format!("http://{}/{name}", self.address),
            user: Some(USER.to_owned()),
            password: Some(Secret::new(PASSWORD.to_owned())),
            ssh_key: None,
            ssh_host_key: None,
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn axum_serve(listener: tokio::net::TcpListener, router: axum::Router) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    if header("authorization") != format!("Basic {expected}") {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"git\"")], "no")
            .into_response();
    }
    if method == Method::POST && uri.path().ends_with("/git-receive-pack") {
        let act = shared.before_push.lock().unwrap().pop();
        if let Some(act) = act {
            tokio::task::spawn_blocking(act).await.unwrap();
        }
    }
    let mut child = tokio::process::Command::new("/usr/lib/git-core/git-http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", USER)
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.unwrap().stdout;
    feed.await.unwrap();
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").expect("a CGI answer");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::builder();
    let mut status = 200;
    for line in head.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("status") {
            status = value[..3].parse().unwrap();
        } else {
            response = response.header(name, value);
        }
    }
    response.status(status).body(axum::body::Body::from(output[end + 4..].to_vec())).unwrap()
}
