//! Bodies that machines send: bounded, parsed into typed values, refused with one line.

use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use super::Line;
use crate::domain::identity::usable_serial;
use crate::domain::inventory::{Firmware, Inventory, Nic};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::InstallToken;
use crate::jobs::NodeReport;
use crate::limits::machine::{MOST_HOST_KEYS, MOST_NICS};
use crate::proto::installer::{AnswerRequest, InstallReport, Malformed};

/// The whole body, or why it did not arrive.
pub(super) fn whole(body: Result<Bytes, BytesRejection>, limit: usize) -> Result<Bytes, Line> {
    body.map_err(|rejection| {
        Line(match rejection.into_response().status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(limit),
            _ => not_whole(),
        })
    })
}

/// As [`whole`], for a body whose limit is known only after a look at its request.
pub(super) async fn collect(body: Body, limit: usize) -> Result<Bytes, Line> {
    let collected = http_body_util::Limited::new(body, limit).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        Line(if error.is::<http_body_util::LengthLimitError>() {
            too_large(limit)
        } else {
            not_whole()
        })
    })
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(RefusalKind::TooLarge, format!("the body is larger than {limit} bytes"), "")
}

fn not_whole() -> Refusal {
    Refusal::new(RefusalKind::Malformed, "the body did not arrive whole", "")
}

fn malformed(error: &Malformed) -> Line {
    let kind = match error {
        Malformed::TooLarge { .. } => RefusalKind::TooLarge,
        Malformed::NotJson { .. } | Malformed::Key { .. } => RefusalKind::Malformed,
    };
    Line(Refusal::new(kind, error.to_string(), ""))
}

/// The installer's request for its answer.
pub(super) fn answer_request(body: &[u8]) -> Result<AnswerRequest, Line> {
    AnswerRequest::parse(body).map_err(|e| malformed(&e))
}

/// The installer's report, and the token in it when the answer had put one there (9.2).
pub(super) fn install_report(body: &[u8]) -> Result<(NodeReport, Option<InstallToken>), Line> {
    let report = InstallReport::parse(body).map_err(|e| malformed(&e))?;
    let address = report
        .management
        .as_ref()
        .and_then(|(_, cidr)| cidr.split('/').next().and_then(|address| address.parse().ok()));
    let token = report.token.as_ref().and_then(|t| t.expose().parse().ok());
    let node =
        NodeReport { address, ssh_host_keys: report.ssh_host_keys, inventory: report.inventory };
    Ok((node, token))
}

/// The first-boot script's call. Everything in it may be absent.
pub(super) fn phone_home(body: &[u8]) -> Result<(NodeReport, Option<InstallToken>), Line> {
    let not_json =
        || Line(Refusal::new(RefusalKind::Malformed, "the body is not a JSON object", ""));
    let root: Map<String, Value> = serde_json::from_slice(body).map_err(|_| not_json())?;
    let text = |key: &str| root.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let list = |key: &str| {
        let values = root.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        values.iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let nics = list("macs").into_iter().take(MOST_NICS).filter_map(|mac| mac.parse().ok());
    let inventory = Inventory {
        uuid: text("uuid").parse().ok(),
        serial: usable_serial(text("serial")),
        firmware: match text("booted_from") {
            "efi" => Some(Firmware::Uefi),
            "bios" => Some(Firmware::Bios),
            _ => None,
        },
        nics: nics.map(|mac| Nic { name: None, mac, address: None }).collect(),
        ..Inventory::default()
    };
    let keys = list("ssh_host_keys").into_iter().take(MOST_HOST_KEYS);
    let report = NodeReport {
        // `ip` is what older scripts of this interface send.
        address: text("address").parse().or_else(|_| text("ip").parse()).ok(),
        ssh_host_keys: keys.filter_map(host_key).collect(),
        inventory,
    };
    Ok((report, text("token").parse().ok()))
}

/// `type base64` of a public key line, its comment left out.
fn host_key(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, blob) = (words.next()?, words.next()?);
    let known = matches!(kind, "ssh-ed25519" | "ssh-rsa")
        || kind.strip_prefix("ecdsa-sha2-").is_some_and(|curve| {
            curve.len() <= 16 && curve.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    let plain = blob.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
    (known && plain && blob.len() <= 2048).then(|| format!("{kind} {blob}"))
}

#[cfg(test)]
mod test {
    use super::*;

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_as_too_large() {
        assert_eq!(collect(Body::from("12345"), 5).await.ok().unwrap(), "12345");
        let refused = collect(Body::from("123456"), 5).await.err().unwrap();
        assert_eq!(refused.0.kind, RefusalKind::TooLarge);
    }

    #[test]
    fn a_phone_home_is_read_by_name_and_strangeness_is_dropped() {
        let body = br#"{"address":"192.0.2.21","uuid":7,"macs":["52:54:00:00:00:01","x",5],
            "ssh_host_keys":["ssh-ed25519 AAAA root@pve1","ssh-ed25519 A;rm","evil AAAA","ecdsa-sha2-\"x AAAA"],
            "booted_from":"efi","extra":{}}"#;
        let (report, token) = phone_home(body).ok().unwrap();
        assert_eq!(report.address.unwrap().to_string(), "192.0.2.21");
        assert_eq!(report.ssh_host_keys, ["ssh-ed25519 AAAA"]);
        assert_eq!(report.inventory.nics.len(), 1);
        assert_eq!(report.inventory.firmware, Some(Firmware::Uefi));
        assert!(token.is_none());
        for bad in [&b"[]"[..], b"", b"{", b"\"x\""] {
            assert!(phone_home(bad).is_err());
        }
    }
}
