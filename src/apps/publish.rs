//! Publishes service definitions: one file of the reverse proxy's repository at a time, written or removed as one commit.
//!
//! No work tree is used: the commit is built from the branch's tree and the one file, so nothing else can change, and
//! what it changes is compared once more before it is pushed. When somebody else pushed in between, the commit is built
//! again on top of theirs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::config::apps::{CommitMode, Services};
use crate::domain::fault::ErrorClass;
use crate::domain::refusal::with_causes;
use crate::git::{Call, Git, GitError, Remote, is_reference};
use crate::limits::work::{PUBLISH_BYTES, PUBLISH_FILES, PUBLISH_TIME};
use crate::plan::service::{self, Definition};

/// How often a push that lost a race is built again.
const TRIES: u32 = 6;
const BASE: &str = "refs/ironhatch/base";

/// The repository of the reverse proxy's definitions. Cheap to clone; one change at a time.
#[derive(Debug, Clone)]
pub struct Publisher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    git: Git,
    repository: PathBuf,
    services: Services,
    remote: Remote,
    author: (String, String),
    changing: Mutex<()>,
}

/// What is in the repository now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The commit that has the change; the branch's own when nothing was to be changed.
    pub commit: String,
    /// The branch it is on.
    pub branch: String,
}

/// A definition was not published or withdrawn. The repository is as it was, unless a message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Git did not do it.
    #[error("the repository of service definitions cannot be used")]
    Git(#[from] GitError),
    /// Somebody else's definition has the domain.
    #[error("the domain {domain} is taken by {file}")]
    Taken {
        /// The domain.
        domain: String,
        /// The file that has it.
        file: String,
    },
    /// The file is not one that we wrote for this guest.
    #[error("{file} exists and was not written for guest {name}: it is not touched")]
    Foreign {
        /// The file.
        file: String,
        /// The guest.
        name: String,
    },
    /// Others pushed again and again.
    #[error("the branch {branch} changed {tries} times while this change was pushed")]
    Conflict {
        /// The branch.
        branch: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The commit would change more than its file: a bug, nothing was pushed.
    #[error("the commit would change {found}, not only {file}; it was not pushed")]
    OtherPaths {
        /// What was to be changed.
        file: String,
        /// What would be.
        found: String,
    },
    /// The configuration cannot be used.
    #[error("apps.services: {0}")]
    Configuration(String),
}

impl PublishError {
    /// What to do with it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Git(error) => error.class(),
            Self::Taken { .. } | Self::Foreign { .. } | Self::Configuration(_) => {
                ErrorClass::Denied
            }
            Self::Conflict { .. } => ErrorClass::Transient,
            Self::OtherPaths { .. } => ErrorClass::Broken,
        }
    }
}

/// A file of the branch.
struct Existing {
    file: String,
    text: String,
}

impl Publisher {
    /// Checks the configuration; nothing is fetched yet. The copy is kept in `data_dir`.
    ///
    /// # Errors
    /// [`PublishError::Configuration`] or [`PublishError::Git`], when it can never work.
    pub fn new(data_dir: &Path, services: &Services) -> Result<Self, PublishError> {
        let remote = Remote::new(&services.repository)?;
        let wrong = PublishError::Configuration;
        if !is_reference(&services.branch) {
            return Err(wrong(format!("\"{}\" is no branch", services.branch)));
        }
        service::check(&services.template, &services.path, &services.file_name)
            .map_err(|e| wrong(e.to_string()))?;
        let author = author(&services.author).ok_or_else(|| {
            wrong(format!(
                "author \"{}\" is not as in \"Name <mail@example.net>\"",
                services.author
            ))
        })?;
        let dir = data_dir.join("services");
        Ok(Self(Arc::new(Inner {
            git: Git::new(dir.join(".git-private")),
            repository: dir.join("repository.git"),
            services: services.clone(),
            remote,
            author,
            changing: Mutex::new(()),
        })))
    }

    /// Every domain of the existing definitions with the file that has it, as the branch is now.
    ///
    /// # Errors
    /// [`PublishError::Git`].
    pub async fn taken_domains(&self) -> Result<BTreeMap<String, String>, PublishError> {
        let _one_at_a_time = self.0.changing.lock().await;
        // A repository that was just made holds nothing yet.
        let Some(base) = self.0.fetch(&self.0.services.branch).await? else {
            return Ok(BTreeMap::new());
        };
        let existing = self.0.existing(&base).await?;
        Ok(taken(&existing))
    }

    /// Writes a definition. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, definition: &Definition) -> Result<Published, PublishError> {
        let message = format!("Publish {} for {}", definition.domain, definition.name);
        self.0.change(&definition.file, &definition.name, Some(definition), &message).await
    }

    /// Removes the definition of a guest. Doing it again changes nothing, and neither does removing what a person
    /// removed already.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn withdraw(&self, file: &str, name: &str) -> Result<Published, PublishError> {
        let message = format!("Withdraw the service of {name}");
        self.0.change(file, name, None, &message).await
    }
}

fn taken(existing: &[Existing]) -> BTreeMap<String, String> {
    let of = |e: &Existing| {
        service::domains(&e.text).into_iter().map(|d| (d, e.file.clone())).collect::<Vec<_>>()
    };
    existing.iter().flat_map(of).collect()
}

/// `Name <mail>`.
fn author(text: &str) -> Option<(String, String)> {
    let (name, mail) = text.trim().strip_suffix('>')?.split_once('<')?;
    let (name, mail) = (name.trim(), mail.trim());
    let plain = |t: &str| !t.is_empty() && !t.chars().any(|c| c.is_control() || "<>".contains(c));
    (plain(name) && plain(mail) && mail.contains('@')).then(|| (name.to_owned(), mail.to_owned()))
}

/// What came of one try.
enum Try {
    Done(Published),
    /// Somebody else was faster.
    Again,
}

impl Inner {
    fn folder(&self) -> &str {
        self.services.path.trim_matches('/')
    }

    async fn change(
        &self,
        file: &str,
        name: &str,
        definition: Option<&Definition>,
        message: &str,
    ) -> Result<Published, PublishError> {
        let below = self.folder().is_empty() || file.starts_with(&format!("{}/", self.folder()));
        if !below || service::check_file(file).is_err() {
            let message = format!("{file} is not below \"{}\"", self.folder());
            return Err(PublishError::Configuration(message));
        }
        let branch = match self.services.mode {
            CommitMode::Direct => self.services.branch.clone(),
            CommitMode::Branch => format!("ironhatch/{name}"),
        };
        if !is_reference(&branch) {
            return Err(PublishError::Configuration(format!("\"{branch}\" is no branch")));
        }
        let _one_at_a_time = self.changing.lock().await;
        for number in 1..=TRIES {
            match self.attempt(file, name, definition, message, &branch).await? {
                Try::Done(published) => return Ok(published),
                Try::Again => {
                    tracing::info!(
                        branch,
                        number,
                        "somebody else pushed, the change is built again"
                    );
                    // Two appliances that meet here must not meet again and again.
                    let pause = 100 * u64::from(number) + rand::random_range(0..200);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
        Err(PublishError::Conflict { branch, tries: TRIES })
    }

    /// Fetches, builds the commit on top, and pushes it.
    async fn attempt(
        &self,
        file: &str,
        name: &str,
        definition: Option<&Definition>,
        message: &str,
        branch: &str,
    ) -> Result<Try, PublishError> {
        let base = match self.fetch(&self.services.branch).await? {
            Some(base) => base,
            None => {
                self.begin().await?;
                let Some(base) = self.fetch(&self.services.branch).await? else {
                    return Ok(Try::Again);
                };
                base
            }
        };
        let existing = self.existing(&base).await?;
        let current = existing.iter().find(|e| e.file == file);
        if let Some(current) = current.filter(|c| !service::is_ours(&c.text, name)) {
            let file = current.file.clone();
            return Err(PublishError::Foreign { file, name: name.to_owned() });
        }
        if let Some(definition) = definition {
            let others = existing.iter().filter(|e| e.file != file);
            for other in others {
                if service::domains(&other.text).contains(&definition.domain) {
                    let (domain, file) = (definition.domain.clone(), other.file.clone());
                    return Err(PublishError::Taken { domain, file });
                }
            }
        }
        let wanted = definition.map(|d| d.text.as_str());
        let own = branch != self.services.branch;
        // The branch of our own may be there from before: merged, waiting, or of an older wish.
        let pushed = if own { self.remote_head(branch).await? } else { Some(base.clone()) };
        if current.map(|c| c.text.as_str()) == wanted {
            if own && pushed.is_some() {
                self.drop_branch(branch).await?;
            }
            let branch = self.services.branch.clone();
            return Ok(Try::Done(Published { commit: base, branch }));
        }
        let tree = self.tree(&base, file, wanted).await?;
        self.only(&base, &tree, file).await?;
        let commit = self.commit(&base, &tree, message).await?;
        if own
            && let Some(waiting) = &pushed
            && self.same_change(branch, waiting, &base, &tree).await?
        {
            let published = Published { commit: waiting.clone(), branch: branch.to_owned() };
            return Ok(Try::Done(published));
        }
        if self.push(&commit, branch, pushed.as_deref()).await? {
            Ok(Try::Done(Published { commit, branch: branch.to_owned() }))
        } else {
            Ok(Try::Again)
        }
    }

    fn call<A: Into<std::ffi::OsString>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Call<'_> {
        Call::new(&self.repository, arguments)
    }

    fn networked(&self, arguments: &[&str]) -> Call<'_> {
        let mut call = self.call(arguments);
        call.remote = Some(&self.remote);
        call.limit = PUBLISH_TIME;
        call
    }

    /// Makes the configured branch in a repository that has none: one commit without files, so that the first definition is
    /// a change like every other. Somebody who is faster wins.
    async fn begin(&self) -> Result<(), PublishError> {
        let tree = self.git.run(self.call(["mktree"])).await?.text();
        let mut commit = self.call(["commit-tree", &tree, "-F", "-"]);
        commit.input = b"Begin\n".to_vec();
        commit.author = Some((&self.author.0, &self.author.1));
        let commit = self.git.run(commit).await?.text();
        self.push(&commit, &self.services.branch, None).await.map(drop)
    }

    /// Names of the server's branches, some of them.
    async fn branches(&self) -> Result<Vec<String>, PublishError> {
        let url = self.remote.url();
        let listed = self.git.run(self.networked(&["ls-remote", "--heads", "--", url])).await?;
        let name = |line: &str| Some(line.split_once("refs/heads/")?.1.to_owned());
        Ok(listed.text().lines().filter_map(name).take(10).collect())
    }

    /// Gets a branch and returns its commit; `None`: the repository has no branch at all.
    async fn fetch(&self, branch: &str) -> Result<Option<String>, PublishError> {
        if let Some(dir) = self.repository.parent() {
            tokio::fs::create_dir_all(dir)
                .await
                .map_err(|source| GitError::Files { path: dir.to_owned(), source })?;
        }
        self.git.init(&self.repository).await?;
        let refspec = format!("+refs/heads/{branch}:{BASE}");
        let url = self.remote.url();
        let fetched = self
            .git
            .run(self.networked(&[
                "fetch",
                "--quiet",
                "--no-tags",
                "--depth=1",
                "--no-write-fetch-head",
                "--",
                url,
                &refspec,
            ]))
            .await;
        if let Err(error) = fetched {
            // Only a server that answers tells that the branch is what is missing.
            let Ok(branches) = self.branches().await else { return Err(error.into()) };
            if branches.is_empty() {
                return Ok(None);
            }
            if !branches.iter().any(|b| b == branch) && branches.len() < 10 {
                return Err(PublishError::Configuration(format!(
                    "the repository has no branch \"{branch}\"; it has {}",
                    branches.join(", ")
                )));
            }
            return Err(error.into());
        }
        let head = format!("{BASE}^{{commit}}");
        Ok(Some(self.git.run(self.call(["rev-parse", "--verify", &head])).await?.text()))
    }

    /// The commit of a branch on the server; `None` when there is no such branch.
    async fn remote_head(&self, branch: &str) -> Result<Option<String>, PublishError> {
        let reference = format!("refs/heads/{branch}");
        let url = self.remote.url();
        let listed = self.git.run(self.networked(&["ls-remote", "--", url, &reference])).await?;
        let text = listed.text();
        Ok(text.split_ascii_whitespace().next().map(str::to_owned))
    }

    /// All definitions of a commit below the approved folder.
    async fn existing(&self, commit: &str) -> Result<Vec<Existing>, PublishError> {
        let mut list = self.call(["ls-tree", "-r", "-z", commit]);
        if !self.folder().is_empty() {
            list.arguments.extend(["--".into(), self.folder().into()]);
        }
        list.most_output = PUBLISH_BYTES;
        let listing = self.git.run(list).await?.output;
        let mut files = Vec::new();
        for line in listing.split(|b| *b == 0) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((head, file)) = line.split_once('\t') else { continue };
            let mut words = head.split_ascii_whitespace();
            let (mode, kind, object) = (words.next(), words.next(), words.next());
            let yaml = file.ends_with(".yaml") || file.ends_with(".yml");
            if let (Some(_), Some("blob"), Some(object), true) = (mode, kind, object, yaml) {
                files.push((file.to_owned(), object.to_owned()));
            }
        }
        if files.len() > PUBLISH_FILES {
            let message = format!("{} has more than {PUBLISH_FILES} definitions", self.folder());
            return Err(PublishError::Configuration(message));
        }
        let mut read = self.call(["cat-file", "--batch"]);
        read.input =
            files.iter().flat_map(|(_, object)| format!("{object}\n").into_bytes()).collect();
        read.most_output = PUBLISH_BYTES;
        let contents = self.git.run(read).await?.output;
        Ok(batch(files, &contents))
    }

    /// The tree of a commit with one file written or removed.
    async fn tree(
        &self,
        base: &str,
        file: &str,
        text: Option<&str>,
    ) -> Result<String, PublishError> {
        let index = self.repository.with_extension("index");
        let cleared = tokio::fs::remove_file(&index).await;
        if let Err(source) = cleared
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(GitError::Files { path: index, source }.into());
        }
        let mut read = self.call(["read-tree", base]);
        read.index = Some(&index);
        self.git.run(read).await?;
        let mut update = match text {
            Some(text) => {
                let mut hash = self.call(["hash-object", "-w", "--stdin"]);
                hash.input = text.as_bytes().to_vec();
                let blob = self.git.run(hash).await?.text();
                let entry = format!("100644,{blob},{file}");
                self.call([
                    "update-index".to_owned(),
                    "--add".to_owned(),
                    "--cacheinfo".to_owned(),
                    entry,
                ])
            }
            // The other ways of removing a path want a work tree.
            None => {
                let mut remove = self.call(["update-index", "-z", "--index-info"]);
                remove.input = format!("0 {}\t{file}\0", "0".repeat(base.len())).into_bytes();
                remove
            }
        };
        update.index = Some(&index);
        self.git.run(update).await?;
        let mut write = self.call(["write-tree"]);
        write.index = Some(&index);
        Ok(self.git.run(write).await?.text())
    }

    /// Whether the tree differs from the commit in this file and nothing else.
    async fn only(&self, base: &str, tree: &str, file: &str) -> Result<(), PublishError> {
        let differ = self.call(["diff-tree", "-r", "-z", "--name-only", base, tree]);
        let listed = self.git.run(differ).await?.output;
        let names: Vec<String> = listed
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        if names == [file] {
            return Ok(());
        }
        Err(PublishError::OtherPaths { file: file.to_owned(), found: names.join(", ") })
    }

    async fn commit(&self, base: &str, tree: &str, message: &str) -> Result<String, PublishError> {
        let mut commit = self.call(["commit-tree", tree, "-p", base, "-F", "-"]);
        commit.input = format!("{message}\n").into_bytes();
        commit.author = Some((&self.author.0, &self.author.1));
        Ok(self.git.run(commit).await?.text())
    }

    /// Whether the waiting branch already is this change on top of this commit.
    async fn same_change(
        &self,
        branch: &str,
        waiting: &str,
        base: &str,
        tree: &str,
    ) -> Result<bool, PublishError> {
        // Depth 2: the commit and what it stands on.
        let refspec = format!("+refs/heads/{branch}:refs/ironhatch/waiting");
        let url = self.remote.url();
        self.git
            .run(self.networked(&[
                "fetch",
                "--quiet",
                "--no-tags",
                "--depth=2",
                "--no-write-fetch-head",
                "--",
                url,
                &refspec,
            ]))
            .await?;
        let show = self.call(["show", "--no-patch", "--format=%H %T %P", "refs/ironhatch/waiting"]);
        let text = self.git.run(show).await?.text();
        Ok(text == format!("{waiting} {tree} {base}"))
    }

    /// Pushes; `false` when the branch is not (any more) what was expected.
    async fn push(
        &self,
        commit: &str,
        branch: &str,
        expected: Option<&str>,
    ) -> Result<bool, PublishError> {
        let reference = format!("refs/heads/{branch}");
        let lease = format!("--force-with-lease={reference}:{}", expected.unwrap_or(""));
        let refspec = format!("{commit}:{reference}");
        let url = self.remote.url();
        let mut arguments = vec!["push", "--porcelain", "--no-verify"];
        // On the common branch only what stands on top of it is ever pushed; the server refuses the rest.
        if branch != self.services.branch {
            arguments.push(&lease);
        }
        arguments.extend(["--", url, &refspec]);
        match self.git.run(self.networked(&arguments)).await {
            Ok(_) => Ok(true),
            Err(GitError::Failed { detail, .. }) if lost_race(&detail) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a branch of ours whose change is not wanted any more or was merged.
    async fn drop_branch(&self, branch: &str) -> Result<(), PublishError> {
        let refspec = format!(":refs/heads/{branch}");
        let url = self.remote.url();
        match self.git.run(self.networked(&["push", "--porcelain", "--", url, &refspec])).await {
            Ok(_) => Ok(()),
            // Forges remove merged branches themselves, and may forbid us to.
            Err(error) => {
                tracing::info!(branch, error = with_causes(&error), "a branch was not removed");
                Ok(())
            }
        }
    }
}

/// The words of `git push` (2.30 to 2.47) for "the branch moved".
fn lost_race(detail: &str) -> bool {
    ["fetch first", "non-fast-forward", "stale info", "cannot lock ref", "failed to update ref"]
        .iter()
        .any(|words| detail.contains(words))
}

/// The output of `cat-file --batch`: `OBJECT blob SIZE\n` content `\n`, in the order of what was asked for.
fn batch(files: Vec<(String, String)>, mut contents: &[u8]) -> Vec<Existing> {
    let mut existing = Vec::new();
    for (file, _) in files {
        let Some(end) = contents.iter().position(|b| *b == b'\n') else { break };
        let (head, rest) = contents.split_at(end);
        let head = String::from_utf8_lossy(head);
        let size = head.rsplit(' ').next().and_then(|s| s.parse::<usize>().ok()).unwrap_or(0);
        let Some(text) = rest.get(1..=size) else { break };
        let text = String::from_utf8_lossy(text).into_owned();
        existing.push(Existing { file, text });
        contents = rest.get(size + 2..).unwrap_or_default();
    }
    existing
}
