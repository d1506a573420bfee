//! Starts `git`: environment, private files, limits, and what its failure means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::remote::Way;
use super::{Call, GitError, Printed, Remote};
use crate::domain::fault::ErrorClass;

/// The installed `git` and a folder for its private files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    private: PathBuf,
}

/// Found by their names only; nothing of the process's own environment decides what is run.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How the site reaches the outside is the only thing that is taken from the process's environment.
const PASSED_ON: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_FILE",
];
/// Most bytes of an error text that are kept.
const MOST_DETAIL: usize = 400;

impl Git {
    /// Uses a private folder, made when it is needed: a home directory that is empty, keys while they are used.
    #[must_use]
    pub fn new(private: PathBuf) -> Self {
        Self { private }
    }

    /// Makes an empty repository without a work tree, when there is none yet.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn init(&self, repository: &Path) -> Result<(), GitError> {
        if repository.join("HEAD").is_file() {
            return Ok(());
        }
        let mut call = Call::new(repository, ["init", "--quiet", "--bare", "--"]);
        call.arguments.push(repository.into());
        call.repository = None;
        self.run(call).await.map(|_| ())
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`GitError`]; when it fails, with its own words but without credentials.
    pub async fn run(&self, call: Call<'_>) -> Result<Printed, GitError> {
        let name = call.arguments.first().map_or_else(String::new, |a| a.to_string_lossy().into());
        let home = self.private.join("home");
        let files = |path: &Path| {
            let path = path.to_owned();
            move |source| GitError::Files { path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&home)
            .map_err(files(&home))?;
        let keys = match call.remote.map(|r| &r.way) {
            Some(Way::Ssh { key, host_key }) => {
                let keys = KeyFiles::write(&self.private, key.expose(), host_key)
                    .map_err(files(&self.private))?;
                Some(keys)
            }
            _ => None,
        };
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(environment(&call, &home, keys.as_ref()))
            .current_dir(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its helpers (ssh, git-remote-https) are ended together with it.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(repository) = call.repository {
            command.arg("--git-dir").arg(repository);
        }
        if let Some(tree) = call.work_tree {
            command.arg("--work-tree").arg(tree);
        }
        command.args(&call.arguments);
        let child = command.spawn().map_err(GitError::Missing)?;
        let mut group = Group::of(&child);
        let ended = timeout(call.limit, talk(child, &call.input, call.most_output)).await;
        if matches!(ended, Ok(Ok(Some(_)))) {
            // It was waited for: its number may soon be somebody else's.
            group.0 = None;
        }
        drop(group);
        drop(keys);
        match ended {
            Err(_) => Err(GitError::Timeout { command: name, seconds: call.limit.as_secs() }),
            Ok(Err(error)) => Err(GitError::Failed {
                command: name,
                class: ErrorClass::Transient,
                detail: error.to_string(),
            }),
            Ok(Ok(None)) => Err(GitError::TooMuchOutput { command: name, most: call.most_output }),
            Ok(Ok(Some(Ended { success: true, output, .. }))) => Ok(Printed { output }),
            Ok(Ok(Some(Ended { output, errors, .. }))) => {
                // `push --porcelain` says on its standard output which reference was refused and why.
                let refused = if name == "push" { output } else { Vec::new() };
                let said = [refused, errors].concat();
                let said = String::from_utf8_lossy(&said);
                let class = class_of(&said);
                Err(GitError::Failed { command: name, class, detail: detail(&said, call.remote) })
            }
        }
    }
}

/// Kills a process group when dropped: on a timeout, and when the caller was cancelled.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Somebody who is gone already needs no killing.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

struct Ended {
    success: bool,
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// Feeds and drains it; `None` when it printed too much.
async fn talk(
    mut child: Child,
    input: &[u8],
    most: usize,
) -> Result<Option<Ended>, std::io::Error> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command that ends before it read everything says why on its standard error.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
        Ok(())
    };
    let (output, errors, ()) = tokio::try_join!(drain(stdout, most), drain(stderr, most), feed)?;
    let (Some(output), Some(errors)) = (output, errors) else {
        child.start_kill()?;
        return Ok(None);
    };
    let status = child.wait().await?;
    Ok(Some(Ended { success: status.success(), output, errors }))
}

async fn drain(
    pipe: Option<impl AsyncRead + Unpin>,
    most: usize,
) -> Result<Option<Vec<u8>>, std::io::Error> {
    let Some(pipe) = pipe else { return Ok(Some(Vec::new())) };
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    pipe.take(limit).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= most).then_some(bytes))
}

fn environment(
    call: &Call<'_>,
    home: &Path,
    keys: Option<&KeyFiles>,
) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)))
        .collect();
    let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
    for (name, value) in [
        ("PATH", PATH),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("SSH_ASKPASS", "/bin/false"),
        ("GIT_ALLOW_PROTOCOL", call.remote.map_or("none", Remote::protocol)),
        ("GIT_LITERAL_PATHSPECS", "1"),
    ] {
        set(name, value.into());
    }
    set("HOME", home.into());
    if let Some(index) = call.index {
        set("GIT_INDEX_FILE", index.into());
    }
    if let Some((name, mail)) = call.author {
        for who in ["AUTHOR", "COMMITTER"] {
            set(&format!("GIT_{who}_NAME"), name.into());
            set(&format!("GIT_{who}_EMAIL"), mail.into());
        }
    }
    if let Some(keys) = keys {
        set("GIT_SSH_COMMAND", keys.command());
        set("GIT_SSH_VARIANT", "ssh".into());
    }
    let mut settings: Vec<(String, String)> = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.quotePath", "false"),
        ("core.autocrlf", "false"),
        ("core.symlinks", "true"),
        ("core.protectNTFS", "true"),
        ("credential.helper", ""),
        ("commit.gpgSign", "false"),
        ("fetch.fsckObjects", "true"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("init.defaultBranch", "main"),
        ("advice.pushUpdateRejected", "false"),
        ("protocol.version", "2"),
        ("submodule.recurse", "false"),
        // A server that stalls is given up long before the limit of the whole command.
        ("http.lowSpeedLimit", "500"),
        ("http.lowSpeedTime", "30"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Some(Remote { url, way: Way::Http { authorization, .. } }) = call.remote {
        // A redirect must not carry the credentials to somebody else.
        let redirects = if authorization.is_some() { "false" } else { "initial" };
        settings.push(("http.followRedirects".to_owned(), redirects.to_owned()));
        if let Some(authorization) = authorization {
            let header = format!("Authorization: {}", authorization.expose());
            settings.push((format!("http.{url}.extraHeader"), header));
        }
    }
    set("GIT_CONFIG_COUNT", settings.len().to_string().into());
    for (index, (name, value)) in settings.into_iter().enumerate() {
        set(&format!("GIT_CONFIG_KEY_{index}"), name.into());
        set(&format!("GIT_CONFIG_VALUE_{index}"), value.into());
    }
    env
}

/// Key, host key and configuration of ssh in a folder of their own, gone when dropped.
struct KeyFiles {
    dir: PathBuf,
}

impl KeyFiles {
    fn write(private: &Path, key: &str, host_key: &str) -> Result<Self, std::io::Error> {
        let dir = private.join(format!("ssh-{:016x}", rand::random::<u64>()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let files = Self { dir };
        let write = |name: &str, text: &str| {
            let path = files.dir.join(name);
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())
        };
        // OpenSSH refuses a key without its last line end.
        write("key", &format!("{}\n", key.trim_end()))?;
        // The pinned key is the only one, under whatever name and port the server is reached.
        write("known_hosts", &format!("* {host_key}\n"))?;
        let path = |name: &str| files.dir.join(name).display().to_string();
        write(
            "config",
            &format!(
                "IdentityFile \"{}\"\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\n\
                 UserKnownHostsFile \"{}\"\nGlobalKnownHostsFile /dev/null\n\
                 StrictHostKeyChecking yes\nUpdateHostKeys no\nPasswordAuthentication no\n\
                 ForwardAgent no\nClearAllForwardings yes\nControlPath none\nConnectTimeout 15\n\
                 ServerAliveInterval 15\nServerAliveCountMax 3\nLogLevel ERROR\n",
                path("key"),
                path("known_hosts"),
            ),
        )?;
        Ok(files)
    }

    /// `git` passes this to a shell: the path is the only thing in it that is ours to choose, and it is quoted.
    fn command(&self) -> OsString {
        let path = self.dir.join("config").display().to_string().replace('\'', r"'\''");
        format!("ssh -F '{path}'").into()
    }
}

impl Drop for KeyFiles {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "an SSH key's file was not removed");
        }
    }
}

/// What git said in the C locale, to what is to be done. The words are those of git 2.30 to 2.47, curl and OpenSSH.
fn class_of(said: &str) -> ErrorClass {
    let said = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&[
        "pre-receive hook declined",
        "protected branch",
        "deny updating",
        "permission denied",
        "authentication failed",
        "terminal prompts disabled",
        "could not read username",
        "could not read password",
        "host key verification failed",
        "returned error: 401",
        "returned error: 403",
        "returned error: 404",
        "not found",
        "does not exist",
        "does not appear to be a git repository",
        "couldn't find remote ref",
        "not our ref",
        "unadvertised object",
        "nonexistent object",
        "certificate",
        "redirect",
        "access denied",
        "invalid format",
        "error in libcrypto",
        "remote rejected",
        "no such ref",
    ]) {
        return ErrorClass::Denied;
    }
    ErrorClass::Transient
}

/// The lines that say something, on one line, without credentials.
fn detail(said: &str, remote: Option<&Remote>) -> String {
    if said.contains("could not read Username") || said.contains("could not read Password") {
        return match remote.map(|r| &r.way) {
            Some(Way::Http { authorization: Some(_), .. }) => {
                "Authentication failed: the server does not accept this user and password"
            }
            _ => "Authentication failed: the server wants a user and a password",
        }
        .to_owned();
    }
    if said.contains("Host key verification failed") {
        return "Host key verification failed: the server shows another key than ssh_host_key"
            .to_owned();
    }
    let mut text = String::new();
    for line in said.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.extend(line.chars().filter(|c| !c.is_control()));
    }
    if let Some(Remote { way: Way::Http { authorization: Some(value), .. }, .. }) = remote {
        text = text.replace(value.expose().as_str(), "[secret]");
    }
    let mut short: String = text.chars().take(MOST_DETAIL).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    if short.is_empty() { "it gave no reason".to_owned() } else { short }
}
