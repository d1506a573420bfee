//! One line per request in the node's journal. Standard error would go to the client, so it is a datagram to the log's
//! socket; where nobody listens there, the line is lost and the request goes on.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::Stop;
use crate::plan::join::brief;
use crate::proto::verb::Verb;

/// Facility `authpriv` (10), as sshd's own lines about logins: severities `info` (6) and `warning` (4), RFC 5424 section 6.2.1.
const INFO: u8 = 10 * 8 + 6;
const WARNING: u8 = 10 * 8 + 4;

/// Notes a request and how it ended. Never values: no environment, no arguments, no contents.
pub(super) fn note(dev: &Path, verb: Option<&Verb>, ended: &Result<i32, Stop>, took: Duration) {
    let line = line(verb, ended, took, &client());
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.set_nonblocking(true);
        let _ = socket.send_to(line.as_bytes(), dev.join("log"));
    }
}

/// Who asked, as sshd tells it: the first word of `SSH_CLIENT`.
fn client() -> String {
    let told = std::env::var("SSH_CLIENT").unwrap_or_default();
    let address = told.split(' ').next().unwrap_or_default();
    address.parse::<std::net::IpAddr>().map_or_else(|_| "-".to_owned(), |a| a.to_string())
}

fn line(verb: Option<&Verb>, ended: &Result<i32, Stop>, took: Duration, client: &str) -> String {
    let what = verb.map_or("-", Verb::name);
    let guest = verb.and_then(Verb::vmid).map_or_else(|| "-".to_owned(), |v| v.to_string());
    let (priority, outcome) = match ended {
        Ok(status) => (INFO, format!("done status={status}")),
        // The detail of a refusal names guest, pool or argument; of a form that is wrong it names a place only.
        Err(Stop::Refused(rule, detail)) => {
            (WARNING, format!("refused rule={rule} ({})", brief(detail)))
        }
        // What a program said may hold anything.
        Err(Stop::Failed(_)) => (WARNING, "failed".to_owned()),
        Err(Stop::Gone) => (WARNING, "left by its client; what ran was killed".to_owned()),
    };
    let process = std::process::id();
    let took = took.as_millis();
    format!(
        "<{priority}>ironhatch-node[{process}]: verb={what} guest={guest} client={client} ms={took} {outcome}"
    )
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::proto::verb::Rule;

    #[test]
    fn a_line_tells_who_asked_what_and_no_value() {
        let verb = Verb::Exec {
            vmid: "101".parse().unwrap(),
            argv: vec!["/bin/planted".to_owned()],
            env: [("A".to_owned(), "planted".to_owned())].into(),
            user: None,
            timeout_sec: 1,
        };
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("log")).unwrap();
        let ended = [
            Ok(3),
            Err(Stop::Refused(Rule::Pool, "container 101 is not in the pool".to_owned())),
            Err(Stop::Failed("planted".to_owned())),
            Err(Stop::Gone),
        ];
        for ended in &ended {
            note(dir.path(), Some(&verb), ended, Duration::from_millis(7));
            let mut bytes = [0; 1024];
            let size = socket.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..size]).into_owned();
            assert!(text.contains("verb=exec guest=101 client="), "{text}");
            assert!(!text.contains("planted"), "{text}");
        }
        let odd = line(
            None,
            &Err(Stop::Refused(Rule::Malformed, "a\nb".to_owned())),
            Duration::ZERO,
            "-",
        );
        assert!(
            odd.starts_with("<84>") && odd.contains("verb=- guest=- ") && !odd.contains('\n'),
            "{odd}"
        );
        // No socket: nothing happens.
        note(Path::new("/nonexistent"), None, &Ok(0), Duration::ZERO);
    }
}
