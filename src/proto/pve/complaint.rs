//! What an answer that is no success means. Proxmox VE says most of it in prose: nearly every error is status 500 with a
//! sentence, which 8.2 puts into the reason phrase only and later releases also into the body's `message`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::value;

/// Why the cluster did not do what it was asked, with everything needed to decide what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// 401: the token is unknown, revoked or wrong. The body is empty, the answer is delayed by 3 s.
    Unauthenticated,
    /// 403. Root-only settings have neither path nor privilege: no token may do that.
    Forbidden {
        /// Path of the access control list; empty: not said.
        path: String,
        /// The missing privilege, alternatives joined by `|`; empty: not said.
        privilege: String,
    },
    /// It does not exist. Rights are looked at first, so a token that is limited to a pool is told [`Self::Forbidden`].
    NotFound(Missing),
    /// Something of that name or number exists already.
    AlreadyExists,
    /// The guest is in a pool already, in this one or another.
    AlreadyMember,
    /// The guest's configuration is locked by a task (`backup`, `create`, …); `None`: another change is being written.
    Locked(Option<String>),
    /// The cluster has no quorum, so nothing can be written.
    NoQuorum,
    /// The configuration changed since its digest was read.
    Modified,
    /// The guest already runs, or does not.
    PowerState,
    /// Parameters were refused, by name.
    Invalid(BTreeMap<String, String>),
    /// 595: no connection to the node in question, or to the daemon behind the API. The call was not carried out.
    NotConnected,
    /// 596 to 599, or the node's access lists cannot be read: whether the call was carried out is not known.
    Interrupted,
    /// No such call in this release.
    NotImplemented,
    /// Anything else.
    Other,
}

/// What does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The guest's configuration, on that node.
    Guest,
    /// The storage.
    Storage,
    /// The pool.
    Pool,
    /// The node.
    Node,
    /// The task: never there, or its log was removed.
    Task,
    /// Something else: a device, a role, a snapshot, a volume.
    Other,
}

impl Complaint {
    /// Reads an answer whose status is not 2xx. Gives the meaning and the text for people, which is never empty.
    #[must_use]
    pub fn read(status: u16, reason: &str, body: &[u8]) -> (Self, String) {
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let message = json.as_ref().and_then(|j| j.get("message")).and_then(value::text);
        let plain = match json {
            None => String::from_utf8_lossy(body.get(..body.len().min(500)).unwrap_or_default())
                .into_owned(),
            Some(_) => String::new(),
        };
        let text = [message.as_deref().unwrap_or_default(), reason, &plain]
            .into_iter()
            .map(str::trim)
            .find(|t| !t.is_empty())
            .map_or_else(|| format!("status {status}"), str::to_owned);
        let errors = json.as_ref().map(errors_of).unwrap_or_default();
        let complaint = meaning(status, &text, errors);
        let text = match &complaint {
            Self::Invalid(errors) if !errors.is_empty() => join(errors),
            _ => text,
        };
        (complaint, text)
    }
}

fn meaning(status: u16, text: &str, errors: BTreeMap<String, String>) -> Complaint {
    match status {
        401 => Complaint::Unauthenticated,
        403 => forbidden(text),
        595 => Complaint::NotConnected,
        596..=599 => Complaint::Interrupted,
        501 => Complaint::NotImplemented,
        400 => invalid(errors, text),
        _ if !errors.is_empty() => invalid(errors, text),
        _ => prose(text),
    }
}

fn invalid(errors: BTreeMap<String, String>, text: &str) -> Complaint {
    let says = |key: &str, words: &str| errors.get(key).is_some_and(|t| t.contains(words));
    if says("upid", "no such task") {
        Complaint::NotFound(Missing::Task)
    } else if says("vmid", "already exists") {
        Complaint::AlreadyExists
    } else if errors.is_empty() {
        Complaint::Invalid(errors_in(text))
    } else {
        Complaint::Invalid(errors)
    }
}

fn forbidden(text: &str) -> Complaint {
    // `Permission check failed (/vms/101, VM.Audit)`; other texts in the brackets say why no privilege would help.
    let inner =
        text.split_once('(').map(|(_, rest)| rest.trim_end_matches(')')).unwrap_or_default();
    if inner.starts_with("pool '") && inner.ends_with("does not exist") {
        return Complaint::NotFound(Missing::Pool);
    }
    let (path, privilege) = match inner.split_once(", ") {
        Some((path, privilege)) if path.starts_with('/') => (path, privilege),
        _ => ("", ""),
    };
    Complaint::Forbidden { path: path.to_owned(), privilege: privilege.to_owned() }
}

/// Meanings of the sentences that come with status 500, looked for in this order.
fn prose(text: &str) -> Complaint {
    let has = |words: &str| text.contains(words);
    let config_file = has("/etc/pve/") && has("Permission denied");
    if has("no quorum") || config_file {
        Complaint::NoQuorum
    } else if let Some(lock) = lock_in(text) {
        Complaint::Locked(Some(lock))
    } else if has("got timeout") || has("got lock request timeout") {
        Complaint::Locked(None)
    } else if has("is already a pool member") {
        Complaint::AlreadyMember
    } else if has("detected modified configuration") || has("checksum mismatch") {
        Complaint::Modified
    } else if has("already exists") || has("already defined") {
        Complaint::AlreadyExists
    } else if has("RPCEnvironment init request failed") {
        // Rights are read before anything is done: not carried out, the cluster file system is stopped.
        Complaint::NotConnected
    } else if text.ends_with("already running") || text.ends_with("not running") {
        Complaint::PowerState
    } else if let Some(missing) = missing_in(text) {
        Complaint::NotFound(missing)
    } else if text.starts_with("400 Parameter verification failed.") {
        Complaint::Invalid(errors_in(text))
    } else {
        Complaint::Other
    }
}

/// The word in `CT is locked (backup)`.
fn lock_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(" is locked (")?;
    let (lock, _) = rest.split_once(')')?;
    Some(lock.to_owned())
}

fn missing_in(text: &str) -> Option<Missing> {
    if text.starts_with("hostname lookup ") || text.starts_with("no such cluster node ") {
        return Some(Missing::Node);
    }
    if text.starts_with("no such task") {
        return Some(Missing::Task);
    }
    if !text.trim_end_matches('!').ends_with("does not exist") {
        return text.starts_with("no such ").then_some(Missing::Other);
    }
    Some(if text.starts_with("Configuration file 'nodes/") {
        Missing::Guest
    } else if text.starts_with("storage '") {
        Missing::Storage
    } else if text.starts_with("pool '") {
        Missing::Pool
    } else {
        Missing::Other
    })
}

fn errors_of(json: &Value) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = json.get("errors") else { return BTreeMap::new() };
    map.iter()
        .map(|(key, text)| {
            (key.clone(), value::text(text).unwrap_or_default().trim_end().to_owned())
        })
        .collect()
}

/// `key: text` lines of a message, where the errors are not given as a map.
fn errors_in(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .filter(|(key, _)| !key.contains(' '))
        .map(|(key, text)| (key.to_owned(), text.trim_end().to_owned()))
        .collect()
}

fn join(errors: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> =
        errors.iter().map(|(key, text)| format!("{key}: {}", text.replace('\n', " "))).collect();
    lines.join("; ")
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Meaning of an answer in the form of 8.3 and later.
    fn newer(status: u16, message: &str) -> Complaint {
        let body = json!({"data": null, "message": format!("{message}\n")}).to_string();
        Complaint::read(status, message, body.as_bytes()).0
    }

    /// Meaning of an answer in the form of 8.2: only the reason phrase speaks.
    fn older(status: u16, reason: &str) -> Complaint {
        Complaint::read(status, reason, br#"{"data":null}"#).0
    }

    #[test]
    fn sentences_mean_the_same_with_and_without_a_message() {
        let forbidden = |path: &str, privilege: &str| Complaint::Forbidden {
            path: path.to_owned(),
            privilege: privilege.to_owned(),
        };
        for (status, text, expected) in [
            (500, "CT is locked (backup)", Complaint::Locked(Some("backup".to_owned()))),
            (500, "VM is locked (clone)", Complaint::Locked(Some("clone".to_owned()))),
            (
                500,
                "can't lock file '/run/lock/lxc/pve-config-101.lock' - got timeout",
                Complaint::Locked(None),
            ),
            (500, "cluster not ready - no quorum?", Complaint::NoQuorum),
            (
                500,
                "create pool failed: cfs-lock 'file-user_cfg' error: no quorum!",
                Complaint::NoQuorum,
            ),
            (
                500,
                "unable to open file '/etc/pve/nodes/n/lxc/101.conf.tmp.2' - Permission denied",
                Complaint::NoQuorum,
            ),
            (500, "CT 101 already exists on node 'pve1'", Complaint::AlreadyExists),
            (
                500,
                "create storage failed: storage ID 'tank' already defined",
                Complaint::AlreadyExists,
            ),
            (500, "update pools failed: VM 105 is already a pool member", Complaint::AlreadyMember),
            (
                500,
                "detected modified configuration - file changed by other user? Try again.",
                Complaint::Modified,
            ),
            (500, "CT 101 not running", Complaint::PowerState),
            (500, "CT 101 already running", Complaint::PowerState),
            (
                500,
                "Configuration file 'nodes/pve1/lxc/999.conf' does not exist",
                Complaint::NotFound(Missing::Guest),
            ),
            (500, "storage 'x' does not exist", Complaint::NotFound(Missing::Storage)),
            (500, "pool 'x' does not exist", Complaint::NotFound(Missing::Pool)),
            (500, "Device /dev/dri/renderD128 does not exist", Complaint::NotFound(Missing::Other)),
            (
                500,
                "hostname lookup 'x' failed - failed to get address info",
                Complaint::NotFound(Missing::Node),
            ),
            (
                403,
                "Permission check failed (pool 'x' does not exist)",
                Complaint::NotFound(Missing::Pool),
            ),
            (
                403,
                "Permission check failed (/vms/9, VM.Audit|VM.X)",
                forbidden("/vms/9", "VM.Audit|VM.X"),
            ),
            (403, "Permission check failed", forbidden("", "")),
            (
                403,
                "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)",
                forbidden("", ""),
            ),
            (
                500,
                "RPCEnvironment init request failed: Unable to load access control list: Connection refused",
                Complaint::NotConnected,
            ),
            (500, "unable to shrink disk size", Complaint::Other),
            (501, "Method 'GET /nope' not implemented", Complaint::NotImplemented),
        ] {
            assert_eq!(newer(status, text), expected, "{text}");
            assert_eq!(older(status, text), expected, "{text}");
        }
    }

    #[test]
    fn empty_bodies_speak_through_status_and_reason() {
        for (status, reason, expected) in [
            (401, "Authentication failed!", Complaint::Unauthenticated),
            (595, "No route to host", Complaint::NotConnected),
            (596, "Connection timed out", Complaint::Interrupted),
            (599, "Too many redirections", Complaint::Interrupted),
        ] {
            let (complaint, text) = Complaint::read(status, reason, b"");
            assert_eq!((complaint, text.as_str()), (expected, reason));
        }
        assert_eq!(Complaint::read(500, "", b"").1, "status 500");
        assert_eq!(Complaint::read(500, "", b"broken pipe").1, "broken pipe");
    }

    #[test]
    fn parameter_errors_are_named() {
        let body = json!({
            "data": null,
            "message": "Parameter verification failed.\n",
            "errors": {"net0": "invalid format - format error\nnet0.ip: no\n\n", "cpus": "unknown"},
        })
        .to_string();
        let (complaint, text) =
            Complaint::read(400, "Parameter verification failed.", body.as_bytes());
        let Complaint::Invalid(errors) = complaint else { panic!("{complaint:?}") };
        assert_eq!(errors["net0"], "invalid format - format error\nnet0.ip: no");
        assert_eq!(text, "cpus: unknown; net0: invalid format - format error net0.ip: no");
    }

    #[test]
    fn a_lost_task_and_a_taken_number_are_no_mere_parameter_errors() {
        let read = |key: &str, text: &str| {
            let body = json!({"errors": {key: text}}).to_string();
            Complaint::read(400, "Parameter verification failed.", body.as_bytes()).0
        };
        assert_eq!(read("upid", "no such task"), Complaint::NotFound(Missing::Task));
        assert_eq!(read("vmid", "VM 101 already exists"), Complaint::AlreadyExists);
        assert!(matches!(read("vmid", "type check failed"), Complaint::Invalid(_)));
    }

    proptest! {
        #[test]
        fn every_answer_has_a_text(
            status in 300u16..600, reason in ".{0,60}",
            body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let (_, text) = Complaint::read(status, &reason, &body);
            prop_assert!(!text.is_empty());
        }
    }
}
