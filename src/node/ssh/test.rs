use russh::keys::PrivateKey;
use russh::server::{self, Auth, Msg, Server as _};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;

use super::*;

/// A server that behaves by the command it is given. Accepts one key.
#[derive(Clone)]
struct Peer {
    accepted: String,
    hanging: Option<ChannelId>,
}

impl server::Server for Peer {
    type Handler = Self;
    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        self.clone()
    }
}

impl server::Handler for Peer {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let line = key.public_key.to_openssh().unwrap_or_default();
        let known = line.starts_with(&self.accepted);
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8_lossy(command).into_owned();
        match command.as_str() {
            "'refuse'" => return session.channel_failure(channel),
            "'drop'" => return Err(russh::Error::Disconnect),
            _ => session.channel_success(channel)?,
        }
        match command.as_str() {
            "'hang'" => self.hanging = Some(channel),
            // Ends when its input does.
            "'count'" => {}
            "'vanish'" => {
                session.data(channel, b"half".to_vec())?;
                session.eof(channel)?;
                session.close(channel)?;
            }
            "'killed'" => {
                let signal = russh::Sig::KILL;
                session.exit_signal_request(channel, signal, false, "", "")?;
                session.close(channel)?;
            }
            "'flood'" => {
                for _ in 0..64 {
                    session.data(channel, vec![b'x'; 1024])?;
                }
            }
            _ => {
                // The status before the data, as sshd may send it.
                session.exit_status_request(channel, 3)?;
                session.data(channel, command.into_bytes())?;
                session.extended_data(channel, 1, b"complaint".to_vec())?;
                session.eof(channel)?;
                session.close(channel)?;
            }
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if self.hanging == Some(channel) {
            return Ok(());
        }
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

struct Fixture {
    target: Target,
    key: EphemeralKey,
    _server: server::RunningServerHandle,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn peer() -> Fixture {
    let host = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let key = EphemeralKey::generate(&mut rand::rng(), "test").unwrap();
    let pinned = host.public_key().to_openssh().unwrap();
    let config = server::Config {
        keys: vec![host],
        auth_rejection_time: Duration::ZERO,
        ..server::Config::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = format!("ssh-ed25519 {}", key.public_body());
    let (ready, handle) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut server = Peer { accepted, hanging: None };
        let running = server.run_on_socket(Arc::new(config), &listener);
        let _ = ready.send(running.handle());
        let _ = running.await;
    });
    let target = Target { address, user: "root".to_owned(), host_keys: vec![pinned] };
    Fixture { target, key, _server: handle.await.unwrap(), task }
}

const LOGIN: Duration = Duration::from_secs(10);

async fn exec(command: &str, limits: Limits) -> Result<Output, ExecError> {
    let fixture = peer().await;
    let session = Session::connect(&fixture.target, &fixture.key, LOGIN).await.unwrap();
    session.exec(&[command], None, limits).await
}

#[tokio::test]
async fn a_command_brings_its_status_and_all_of_its_output() {
    let output = exec("it's", Limits::default()).await.unwrap();
    assert_eq!(output.status, 3);
    assert_eq!(output.text(), r"'it'\''s'");
    assert_eq!(output.complaint(), "complaint");
}

#[tokio::test]
async fn input_is_sent_to_its_end() {
    let fixture = peer().await;
    let session = Session::connect(&fixture.target, &fixture.key, LOGIN).await.unwrap();
    let input = vec![b'x'; 100_000];
    let output = session.exec(&["count"], Some(&input), Limits::default()).await.unwrap();
    assert_eq!(output.status, 0);
}

#[tokio::test]
async fn a_command_without_an_exit_status_failed() {
    for (command, signal) in [("vanish", None), ("killed", Some("KILL".to_owned()))] {
        let error = exec(command, Limits::default()).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient);
        match error {
            ExecError::NoExitStatus { signal: seen } => assert_eq!(seen, signal),
            other => panic!("{command}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_lost_connection_is_transient() {
    let error = exec("drop", Limits::default()).await.unwrap_err();
    assert!(
        matches!(error, ExecError::Dropped(_) | ExecError::NoExitStatus { signal: None }),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test]
async fn time_and_output_have_limits() {
    let limits = Limits { max_output: 10_000, ..Limits::default() };
    let error = exec("flood", limits).await.unwrap_err();
    assert!(matches!(error, ExecError::TooMuchOutput { limit: 10_000 }), "{error:?}");
    let limits = Limits { timeout: Duration::from_millis(50), ..Limits::default() };
    let error = exec("hang", limits).await.unwrap_err();
    assert!(matches!(error, ExecError::Timeout { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test]
async fn a_refused_command_is_denied() {
    let error = exec("refuse", Limits::default()).await.unwrap_err();
    assert!(matches!(error, ExecError::Refused), "{error:?}");
}

#[tokio::test]
async fn an_unknown_key_is_denied_and_not_printed() {
    let fixture = peer().await;
    let other = EphemeralKey::generate(&mut rand::rng(), "other").unwrap();
    let error = Session::connect(&fixture.target, &other, LOGIN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Denied);
    assert!(error.to_string().contains(&other.fingerprint()), "{error}");
}

#[tokio::test]
async fn only_the_pinned_host_key_is_accepted() {
    let fixture = peer().await;
    let stranger = EphemeralKey::generate(&mut rand::rng(), "host").unwrap();
    let mut target = fixture.target.clone();
    target.host_keys = vec![stranger.public_line().to_owned()];
    let error = Session::connect(&target, &fixture.key, LOGIN).await.unwrap_err();
    let ConnectError::HostKey { expected, seen, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expected, stranger.fingerprint());
    assert!(seen.starts_with("SHA256:") && seen != expected, "{seen}");
    assert_eq!(error.class(), ErrorClass::Denied);

    // One of several is enough; none at all, or none that can be read, is not.
    target.host_keys.push(fixture.target.host_keys.concat());
    assert!(Session::connect(&target, &fixture.key, LOGIN).await.is_ok());
    for keys in [vec![], vec!["garbage".to_owned()]] {
        target.host_keys = keys;
        let error = Session::connect(&target, &fixture.key, LOGIN).await.unwrap_err();
        assert!(matches!(error, ConnectError::NoHostKey { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_machine_that_is_not_there_or_says_nothing_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fixture = peer().await;
    let mut target = fixture.target.clone();
    target.address = listener.local_addr().unwrap();
    let limit = Duration::from_millis(50);
    // Accepted by the kernel, never answered.
    let error = Session::connect(&target, &fixture.key, limit).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Transient);
    // Accepted and closed, as by an sshd that is starting.
    let (result, _) = tokio::join!(Session::connect(&target, &fixture.key, LOGIN), async {
        for _ in 0..2 {
            drop(listener.accept().await);
        }
    });
    let error = result.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
    drop(listener);
    let error = Session::connect(&target, &fixture.key, LOGIN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}
