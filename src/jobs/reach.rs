//! Where nodes listen, and whether they do.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

/// The port of a node's SSH server.
pub(super) const SSH_PORT: u16 = 22;
/// The port of a node's API.
pub(super) const API_PORT: u16 = 8006;

/// What a node on the LAN gets to take a connection.
const REACH: Duration = Duration::from_secs(3);

/// Why a TCP port does not answer; `None`: it does.
pub(super) async fn refusal_of(address: SocketAddr) -> Option<String> {
    match tokio::time::timeout(REACH, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", REACH.as_secs())),
    }
}
