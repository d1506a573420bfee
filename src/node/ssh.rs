//! One SSH session to one machine whose host keys are known beforehand.
//!
//! Everything has a limit: connecting, each command's time and output, silence of the peer. A command without an exit
//! status was killed or lost with its connection and counts as failed, never as 0.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelWriteHalf, Disconnect, Preferred};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use crate::domain::fault::ErrorClass;

use super::key::EphemeralKey;
use super::quote::{self, NulInArgument};
use crate::domain::secret::Secret;

/// A machine, the user to log in as, and the only host keys that it may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where its sshd listens.
    pub address: SocketAddr,
    /// The user, normally `root`.
    pub user: String,
    /// Pinned host keys as `TYPE BASE64` (a comment may follow). Empty: nothing is accepted.
    pub host_keys: Vec<String>,
}

/// No session came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No pinned host key could be read.
    #[error("no host key of {address} is known, so its identity cannot be checked")]
    NoHostKey {
        /// The machine.
        address: SocketAddr,
    },
    /// The machine shows another key than the pinned ones.
    #[error("{address} shows the host key {seen}, expected was {expected}")]
    HostKey {
        /// The machine.
        address: SocketAddr,
        /// Fingerprints of the pinned keys.
        expected: String,
        /// Fingerprint of the key it showed.
        seen: String,
    },
    /// sshd refused the key or the password.
    #[error("{address} refused the login of {user} with {credential}")]
    Refused {
        /// The machine.
        address: SocketAddr,
        /// The user.
        user: String,
        /// With what: `the key SHA256:…` or `the password`.
        credential: String,
    },
    /// No TCP connection.
    #[error("no connection to {address}")]
    Unreachable {
        /// The machine.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{address} did not answer the SSH login within {seconds} s")]
    Timeout {
        /// The machine.
        address: SocketAddr,
        /// The limit.
        seconds: u64,
    },
    /// The connection ended during the login.
    #[error("{address} closed the connection during the SSH login")]
    Dropped {
        /// The machine.
        address: SocketAddr,
        /// What the library says.
        #[source]
        source: russh::Error,
    },
    /// The two sides do not understand each other.
    #[error("{address} does not speak SSH as expected")]
    Protocol {
        /// The machine.
        address: SocketAddr,
        /// What the library says.
        #[source]
        source: russh::Error,
    },
}

impl ConnectError {
    /// What to do with it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoHostKey { .. } | Self::HostKey { .. } | Self::Refused { .. } => {
                ErrorClass::Denied
            }
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Dropped { .. } => {
                ErrorClass::Transient
            }
            Self::Protocol { .. } => ErrorClass::Broken,
        }
    }
}

/// A command did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It did not end in time. It may go on on the machine.
    #[error("the command did not end within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// It printed more than it may.
    #[error("the command printed more than {limit} bytes")]
    TooMuchOutput {
        /// The limit.
        limit: usize,
    },
    /// It ended without an exit status: killed by a signal, or lost with its connection.
    #[error("the command ended without an exit status{}", signal.as_deref().map(|s| format!(" (signal {s})")).unwrap_or_default())]
    NoExitStatus {
        /// The signal's name, when sshd told it.
        signal: Option<String>,
    },
    /// Whoever reads its output wanted no more of it.
    #[error("the command was left before its end")]
    Stopped,
    /// The machine refused to run commands in this session.
    #[error("the machine refused to run the command")]
    Refused,
    /// The connection ended.
    #[error("the SSH connection was lost")]
    Dropped(#[source] russh::Error),
    /// The argument list cannot be sent.
    #[error(transparent)]
    Argument(#[from] NulInArgument),
}

impl ExecError {
    /// What to do with it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Timeout { .. } | Self::NoExitStatus { .. } | Self::Dropped(_) => {
                ErrorClass::Transient
            }
            Self::Refused => ErrorClass::Denied,
            Self::TooMuchOutput { .. } | Self::Stopped | Self::Argument(_) => ErrorClass::Broken,
        }
    }
}

/// Limits of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the request to the exit status.
    pub timeout: Duration,
    /// Bytes of standard output and standard error together.
    pub max_output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // The slowest single program is a repair (restart of daemons, 10 s measured); the longest output a log tail.
        Self { timeout: Duration::from_secs(60), max_output: 256 * 1024 }
    }
}

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: u32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn complaint(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

/// Which of a command's streams a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A session with a machine that proved its identity and accepted our key.
pub struct Session {
    handle: Handle<PinnedKeys>,
    address: SocketAddr,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.address)
    }
}

impl Session {
    /// Connects, checks the host key against the pinned ones and logs in with the key, all within `limit`.
    ///
    /// # Errors
    /// [`ConnectError`]; its class tells whether to try again.
    pub async fn connect(
        target: &Target,
        key: &EphemeralKey,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let address = target.address;
        timeout(limit, Self::login(target, key))
            .await
            .unwrap_or(Err(ConnectError::Timeout { address, seconds: limit.as_secs() }))
    }

    /// The same with a password instead of a key. sshd may ask for it in either of two ways.
    ///
    /// # Errors
    /// [`ConnectError`]; its class tells whether to try again.
    pub async fn connect_with_password(
        target: &Target,
        password: &Secret<String>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let address = target.address;
        timeout(limit, Self::password_login(target, password))
            .await
            .unwrap_or(Err(ConnectError::Timeout { address, seconds: limit.as_secs() }))
    }

    async fn login(target: &Target, key: &EphemeralKey) -> Result<Self, ConnectError> {
        let (mut handle, expected) = reach(target).await?;
        // Ed25519 only: no hash to choose.
        let key_pair = PrivateKeyWithHashAlg::new(key.private(), None);
        match handle.authenticate_publickey(target.user.as_str(), key_pair).await {
            Ok(AuthResult::Success) => Ok(Self { handle, address: target.address }),
            Ok(AuthResult::Failure { .. }) => {
                let credential = format!("the key {}", key.fingerprint());
                Err(refused_login(&handle, target, credential).await)
            }
            Err(source) => Err(failed_login(target.address, &expected, source)),
        }
    }

    async fn password_login(
        target: &Target,
        password: &Secret<String>,
    ) -> Result<Self, ConnectError> {
        let (mut handle, expected) = reach(target).await?;
        let failed = |source| failed_login(target.address, &expected, source);
        let user = target.user.as_str();
        let plain = handle.authenticate_password(user, password.expose().as_str()).await;
        if matches!(plain.map_err(failed)?, AuthResult::Success) {
            return Ok(Self { handle, address: target.address });
        }
        let mut answer =
            handle.authenticate_keyboard_interactive_start(user, None).await.map_err(failed)?;
        // One question is the password; a second round would be a second factor, which nobody here can answer.
        for _ in 0..3 {
            match answer {
                KeyboardInteractiveAuthResponse::Success => {
                    return Ok(Self { handle, address: target.address });
                }
                KeyboardInteractiveAuthResponse::Failure { .. } => break,
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let replies = prompts.iter().map(|_| password.expose().clone()).collect();
                    answer = handle
                        .authenticate_keyboard_interactive_respond(replies)
                        .await
                        .map_err(failed)?;
                }
            }
        }
        Err(refused_login(&handle, target, "the password".to_owned()).await)
    }

    /// Whether the connection is known to have ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Runs a command and waits for its end. The argument list is quoted for the login shell, so that it arrives as it is.
    ///
    /// # Errors
    /// [`ExecError`]. A command that ends with another status than 0 is not an error here.
    pub async fn exec(
        &self,
        argv: &[&str],
        stdin: Option<&[u8]>,
        limits: Limits,
    ) -> Result<Output, ExecError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut keep = |source, data: &[u8]| {
            match source {
                Source::Stdout => stdout.extend_from_slice(data),
                Source::Stderr => stderr.extend_from_slice(data),
            }
            ControlFlow::Continue(())
        };
        let status = self.stream(argv, stdin.unwrap_or_default(), limits, &mut keep).await?;
        Ok(Output { status, stdout, stderr })
    }

    /// Runs a command and hands its output to `sink` as it comes. `sink` ends the command's channel early by
    /// [`ControlFlow::Break`]; then, and at any other early end, the machine learns that nobody listens any more.
    ///
    /// # Errors
    /// [`ExecError`]; [`ExecError::Stopped`] after a break.
    pub async fn stream(
        &self,
        argv: &[&str],
        stdin: &[u8],
        limits: Limits,
        sink: &mut (dyn FnMut(Source, &[u8]) -> ControlFlow<()> + Send),
    ) -> Result<u32, ExecError> {
        let line = quote::render(argv)?;
        timeout(limits.timeout, self.run(line, stdin, limits.max_output, sink))
            .await
            .unwrap_or(Err(ExecError::Timeout { seconds: limits.timeout.as_secs() }))
    }

    async fn run(
        &self,
        line: String,
        stdin: &[u8],
        limit: usize,
        sink: &mut (dyn FnMut(Source, &[u8]) -> ControlFlow<()> + Send),
    ) -> Result<u32, ExecError> {
        let channel = self.handle.channel_open_session().await.map_err(refused_or_dropped)?;
        channel.exec(true, line).await.map_err(ExecError::Dropped)?;
        let (mut reader, writer) = channel.split();
        // Also when this future is dropped, by a timeout or a cancelled job: the command must not go on for nobody.
        let writer = Closing(Some(writer));
        let mut received = 0_usize;
        let (mut status, mut signal) = (None, None);
        let feed = async {
            // The command may end without reading its input: that is its own affair.
            if let Some(writer) = &writer.0 {
                let _ = writer.data(stdin).await;
                let _ = writer.eof().await;
            }
        };
        let collect = async {
            // The status may come before the last data: read until the channel ends.
            while let Some(message) = reader.wait().await {
                let (source, data) = match &message {
                    ChannelMsg::Data { data } => (Source::Stdout, data),
                    ChannelMsg::ExtendedData { data, .. } => (Source::Stderr, data),
                    ChannelMsg::ExitStatus { exit_status } => {
                        status = Some(*exit_status);
                        continue;
                    }
                    ChannelMsg::ExitSignal { signal_name, .. } => {
                        signal = Some(format!("{signal_name:?}"));
                        continue;
                    }
                    ChannelMsg::Failure => return Err(ExecError::Refused),
                    _ => continue,
                };
                received = received.saturating_add(data.len());
                if received > limit {
                    return Err(ExecError::TooMuchOutput { limit });
                }
                if sink(source, data).is_break() {
                    return Err(ExecError::Stopped);
                }
            }
            Ok(())
        };
        // Reading must go on while input is sent: both directions have a window.
        {
            tokio::pin!(feed, collect);
            let mut fed = false;
            loop {
                tokio::select! {
                    () = &mut feed, if !fed => fed = true,
                    result = &mut collect => break result?,
                }
            }
        }
        status.ok_or(ExecError::NoExitStatus { signal })
    }

    /// Says goodbye. Dropping a session ends it too.
    pub async fn close(self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }
}

/// The sending half of a command's channel. Dropped without a close, a channel stays open for as long as its connection.
struct Closing(Option<ChannelWriteHalf<client::Msg>>);

impl Drop for Closing {
    fn drop(&mut self) {
        let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        // Bounded: the message goes to the connection's own queue, which ends with the connection.
        runtime.spawn(async move {
            let _ = writer.close().await;
        });
    }
}

fn config(pinned: &[PublicKey]) -> client::Config {
    // Only algorithms of pinned keys are offered: a server that has several keys then shows the one that is known.
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for key in pinned {
        let same = match key.algorithm() {
            Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
                .map(|hash| Algorithm::Rsa { hash: Some(hash) })
                .to_vec(),
            other => vec![other],
        };
        for algorithm in same {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
    }
    client::Config {
        preferred: Preferred { key: Cow::Owned(algorithms), ..Preferred::default() },
        nodelay: true,
        // A dead peer is noticed after about 45 s; a quiet long command is not a dead peer.
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        inactivity_timeout: None,
        ..client::Config::default()
    }
}

/// Connects and checks the host key. Returns the fingerprints that were expected, for errors.
async fn reach(target: &Target) -> Result<(Handle<PinnedKeys>, String), ConnectError> {
    let address = target.address;
    let pinned: Vec<PublicKey> =
        target.host_keys.iter().filter_map(|k| PublicKey::from_openssh(k.trim()).ok()).collect();
    if pinned.is_empty() {
        return Err(ConnectError::NoHostKey { address });
    }
    let stream = dial(address).await?;
    let config = Arc::new(config(&pinned));
    let expected = pinned.iter().map(|k| k.fingerprint(HashAlg::Sha256).to_string());
    let expected = expected.collect::<Vec<_>>().join(" or ");
    let handler = PinnedKeys { pinned };
    let wrong = |error| match error {
        LoginError::HostKey { seen } => {
            ConnectError::HostKey { address, expected: expected.clone(), seen }
        }
        LoginError::Ssh(source) => failed_login(address, &expected, source),
    };
    let handle = client::connect_stream(config, stream, handler).await.map_err(wrong)?;
    Ok((handle, expected))
}

pub(super) async fn dial(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address, source };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

async fn refused_login(
    handle: &Handle<PinnedKeys>,
    target: &Target,
    credential: String,
) -> ConnectError {
    let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
    ConnectError::Refused { address: target.address, user: target.user.clone(), credential }
}

fn failed_login(address: SocketAddr, pinned: &str, source: russh::Error) -> ConnectError {
    match source {
        // It has no key of a pinned type at all.
        russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. } => {
            ConnectError::HostKey {
                address,
                expected: pinned.to_owned(),
                seen: format!("of another type ({})", theirs.join(", ")),
            }
        }
        russh::Error::IO(_)
        | russh::Error::HUP
        | russh::Error::Disconnect
        | russh::Error::ConnectionTimeout
        | russh::Error::KeepaliveTimeout
        | russh::Error::SendError
        | russh::Error::RecvError
        // sshd that starts or stops closes before its first line.
        | russh::Error::Version => ConnectError::Dropped { address, source },
        _ => ConnectError::Protocol { address, source },
    }
}

fn refused_or_dropped(error: russh::Error) -> ExecError {
    match error {
        russh::Error::ChannelOpenFailure(_) => ExecError::Refused,
        other => ExecError::Dropped(other),
    }
}

/// Accepts exactly the pinned keys, and no certificates.
struct PinnedKeys {
    pinned: Vec<PublicKey>,
}

enum LoginError {
    HostKey { seen: String },
    Ssh(russh::Error),
}

impl std::fmt::Debug for LoginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HostKey { seen } => write!(f, "host key {seen}"),
            Self::Ssh(error) => error.fmt(f),
        }
    }
}

impl From<russh::Error> for LoginError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for PinnedKeys {
    type Error = LoginError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let fingerprint = |k: &PublicKey| k.fingerprint(HashAlg::Sha256).to_string();
        let seen = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                if self.pinned.iter().any(|p| p.key_data() == key.key_data()) {
                    return Ok(true);
                }
                fingerprint(key)
            }
            PublicKeyOrCertificate::Certificate(_) => "of a certificate".to_owned(),
        };
        Err(LoginError::HostKey { seen })
    }
}

#[cfg(test)]
mod test;
