//! What a container may fetch: the package mirror that this machine's own apt uses, through a proxy on the cable.
//!
//! The proxy speaks just enough HTTP for apt, hands every download to this machine's `apt-helper` (so that its mirror,
//! proxy and certificates count, whatever they are), and keeps what can never change: packages and indices by hash.
//! Anything but the configured archives is refused.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use sha2::Digest;

/// Debian's archives as this machine reaches them.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// By the URI that containers use (always `http`), the URI that this machine uses.
    archives: BTreeMap<String, String>,
    /// `sources.list` of a container.
    sources: String,
    /// `apt.conf` values of this machine that a container needs too: a frozen mirror's dates.
    dates: String,
    cache: PathBuf,
    /// One lock a file: two containers that want the same wait for one download.
    files: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>>,
}

impl Mirror {
    /// Asks this machine's apt where Debian's `suite` is. `cache` keeps downloads over runs.
    pub(crate) fn find(suite: &str, cache: &Path) -> Result<Self> {
        let mut archives = BTreeMap::new();
        let mut lines = Vec::new();
        // Which archives there are is the machine's; which suites is ours: the machine may run another release.
        let mut listed = Self::listed()?;
        if listed.is_empty() {
            // A machine that is new has no lists yet, and apt knows an archive's origin from them.
            output("apt-get", &["-qq", "update"])?;
            listed = Self::listed()?;
        }
        for line in listed.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [uri, release, "Debian", "main"] = words[..] else { continue };
            let suites = match release.rsplit_once('-') {
                None => vec![suite.to_owned()],
                Some((_, kind @ ("updates" | "security"))) => vec![format!("{suite}-{kind}")],
                Some(_) => continue,
            };
            let uri = uri.trim_end_matches('/');
            let inside = match uri.split_once("://") {
                Some((_, rest)) => format!("http://{rest}"),
                None => bail!("apt's archive {uri} is no URI"),
            };
            for suite in suites {
                let line = format!("deb {inside} {suite} main");
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            archives.insert(format!("{inside}/"), format!("{uri}/"));
        }
        if lines.is_empty() {
            bail!(
                "this machine's apt knows no Debian archive (apt-get indextargets); run apt-get update"
            );
        }
        let dates = output("apt-config", &["dump"])?
            .lines()
            .filter(|l| {
                l.starts_with("Acquire::Check-Valid-Until ")
                    || l.starts_with("Acquire::Check-Date ")
            })
            .map(|l| format!("{l}\n"))
            .collect();
        // What changes (InRelease) is kept for one run only.
        let _ = std::fs::remove_dir_all(cache.join("now"));
        for part in ["now", "kept"] {
            std::fs::create_dir_all(cache.join(part)).context("cache of the mirror")?;
        }
        let sources = lines.join("\n") + "\n";
        Ok(Self { archives, sources, dates, cache: cache.to_owned(), files: Mutex::default() })
    }

    fn listed() -> Result<String> {
        let format = "$(REPO_URI) $(RELEASE) $(ORIGIN) $(COMPONENT)";
        let only = ["Identifier: Packages", "Origin: Debian"];
        output("apt-get", &["indextargets", "--format", format, only[0], only[1]])
    }

    /// `sources.list` for a container.
    pub(crate) fn sources(&self) -> &str {
        &self.sources
    }

    /// `apt.conf` for a container that reaches the proxy at `proxy`; without one, for this machine.
    pub(crate) fn apt_conf(&self, proxy: Option<&str>) -> String {
        let proxy =
            proxy.map(|p| format!("Acquire::http::Proxy \"http://{p}\";\n")).unwrap_or_default();
        format!("{proxy}Acquire::Languages \"none\";\n{}", self.dates)
    }

    /// Serves one container for as long as the program runs.
    pub(crate) fn serve(self: &Arc<Self>, listener: TcpListener) {
        let mirror = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mirror = Arc::clone(&mirror);
                // apt opens a connection or two for each archive, so there are few.
                std::thread::spawn(move || {
                    let _ = mirror.converse(stream);
                });
            }
        });
    }

    /// One connection: request after request until it is closed.
    fn converse(&self, stream: TcpStream) -> Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                    break;
                }
            }
            let mut words = request.split_whitespace();
            let file = match (words.next(), words.next()) {
                (Some("GET"), Some(uri)) => self.file(uri),
                _ => Err((405, "only GET")),
            };
            match file {
                Ok(path) => {
                    let mut file = std::fs::File::open(&path)?;
                    let length = file.metadata()?.len();
                    write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                    std::io::copy(&mut file, &mut writer)?;
                }
                Err((status, why)) => {
                    write!(writer, "HTTP/1.1 {status} {why}\r\nContent-Length: 0\r\n\r\n")?;
                }
            }
        }
    }

    /// Where the file of this URI lies, downloaded if need be; or the status that says why not.
    fn file(&self, uri: &str) -> Result<PathBuf, (u16, &'static str)> {
        let (inside, ours) = self
            .archives
            .iter()
            .find(|(inside, _)| uri.starts_with(inside.as_str()))
            .ok_or((403, "not one of this machine's package archives"))?;
        let rest = &uri[inside.len()..];
        let lasting = rest.ends_with(".deb") || rest.contains("/by-hash/");
        let name: String = sha2::Sha256::digest(uri).iter().map(|b| format!("{b:02x}")).collect();
        let path = self.cache.join(if lasting { "kept" } else { "now" }).join(name);
        let lock = Arc::clone(
            self.files
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .entry(path.clone())
                .or_default(),
        );
        let _held = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if path.exists() {
            return Ok(path);
        }
        let part = path.with_extension("part");
        let status = Command::new("/usr/lib/apt/apt-helper")
            .args(["-qq", "-o", "APT::Sandbox::User=root", "download-file"])
            .arg(format!("{ours}{rest}"))
            .arg(&part)
            .output();
        match status {
            Ok(output) if output.status.success() && std::fs::rename(&part, &path).is_ok() => {
                Ok(path)
            }
            // apt asks for indices that an archive need not have; it goes on after this answer.
            _ => Err((404, "not in the archive")),
        }
    }
}

/// What a command printed; an error when it failed.
pub(crate) fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
