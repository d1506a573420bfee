//! What happened on TFTP, in the operator's words.

use std::net::SocketAddrV4;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::boot::{BootFact, BootObservation, BootSink, BootStage};
use crate::domain::time::Timestamp;
use crate::proto::tftp::transfers::{Note, Refusal};

/// Hands an observation to the sink when the operator would want to know; the rest is for counters and the debug log.
pub(super) fn tell(sink: &dyn BootSink, peer: SocketAddrV4, note: &Note) {
    match sentence(peer, note) {
        Some((answered, message)) => {
            tracing::debug!(%peer, answered, "{message}");
            sink.observe(BootObservation {
                at: now(),
                mac: None,
                address: Some(*peer.ip()),
                stage: BootStage::Tftp,
                answered,
                message,
                fact: fact(note),
                client: None,
            });
        }
        None => tracing::debug!(%peer, ?note, "TFTP"),
    }
}

/// Whether the client got what it asked for, and the sentence about it.
fn sentence(peer: SocketAddrV4, note: &Note) -> Option<(bool, String)> {
    Some(match note {
        Note::Started { file, size } => (true, format!("sending {file} ({size} bytes) to {peer}")),
        Note::Finished { file, size, took, repeats } => {
            let seconds = took.as_secs_f64();
            let repeated = match repeats {
                0 => String::new(),
                1 => ", one packet sent twice".to_owned(),
                n => format!(", {n} packets sent again"),
            };
            (true, format!("sent {file} ({size} bytes in {seconds:.2} s{repeated}) to {peer}"))
        }
        Note::Aborted { file, confirmed, text } => {
            let said = if text.is_empty() { String::new() } else { format!(": '{text}'") };
            (false, format!("{peer} stopped {file} after {confirmed} bytes{said}"))
        }
        Note::Lost { file, confirmed, answered: true } => {
            (false, format!("{peer} fell silent after {confirmed} bytes of {file}"))
        }
        Note::Lost { file, answered: false, .. } => (
            false,
            format!(
                "{peer} asked for {file} and never confirmed our answer; a firewall on the way?"
            ),
        ),
        Note::NotFound { name } => {
            (false, format!("{peer} asked for '{name}', which is no boot file"))
        }
        Note::Refused(refusal) => {
            let reason = match refusal {
                Refusal::Write => "this server is read-only",
                Refusal::Mode => "only binary transfers are served",
                Refusal::PeerLimit => "too many transfers from this address",
                Refusal::TotalLimit => "too many transfers at once",
            };
            (false, format!("refused a request of {peer}: {reason}"))
        }
        // Every UEFI machine does this before the real request; when it ends there, that is the trouble.
        Note::Probed { file } => (true, format!("told the size of {file} to {}", peer.ip())),
        // What is dropped may be a flood.
        Note::Dropped(_) => return None,
    })
}

/// The same for a diagnosis.
fn fact(note: &Note) -> Option<BootFact> {
    let name = str::to_owned;
    Some(match note {
        Note::Started { file, .. } => BootFact::Sending { file: name(file) },
        Note::Finished { file, .. } => BootFact::Sent { file: name(file) },
        Note::Aborted { file, .. } => BootFact::Aborted { file: name(file) },
        Note::Lost { file, answered, .. } => {
            BootFact::Stalled { file: name(file), heard: *answered }
        }
        Note::NotFound { name } => BootFact::NoSuchFile { name: name.clone() },
        Note::Refused(Refusal::PeerLimit | Refusal::TotalLimit) => BootFact::Limited,
        Note::Probed { file } => BootFact::Sized { file: name(file) },
        Note::Refused(_) | Note::Dropped(_) => return None,
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod test {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_story_is_told_in_plain_words() {
        let peer = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 21), 1025);
        let tell = |note: Note| sentence(peer, &note).map(|(_, message)| message);
        let file = || "snponly.efi".to_owned();
        assert_eq!(
            tell(Note::Finished {
                file: file(),
                size: 284_672,
                took: Duration::from_millis(210),
                repeats: 1
            }),
            Some("sent snponly.efi (284672 bytes in 0.21 s, one packet sent twice) to 192.0.2.21:1025".into())
        );
        assert_eq!(
            tell(Note::Aborted { file: file(), confirmed: 512, text: "no memory".into() }),
            Some("192.0.2.21:1025 stopped snponly.efi after 512 bytes: 'no memory'".into())
        );
        let probed = tell(Note::Probed { file: file() });
        assert_eq!(probed, Some("told the size of snponly.efi to 192.0.2.21".into()));
    }
}
