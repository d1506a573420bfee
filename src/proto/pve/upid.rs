//! The name of a task: `UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER:`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::id::InvalidId;
use crate::domain::time::Timestamp;

/// A task's name, kept as the cluster wrote it. Round-trips through `Display` and `FromStr`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upid {
    text: String,
    pid: u32,
    pstart: u64,
    start: u32,
}

impl Upid {
    /// A name of these parts.
    ///
    /// # Errors
    /// [`InvalidId`] when a part does not have the form that [`Upid::from_str`] demands.
    pub fn new(
        node: &str,
        (pid, pstart): (u32, u64),
        start: u32,
        kind: &str,
        id: &str,
        user: &str,
    ) -> Result<Self, InvalidId> {
        format!("UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{user}:").parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The node that runs it and that answers for it. Not always the node that was asked to start it.
    #[must_use]
    pub fn node(&self) -> &str {
        self.part(1)
    }

    /// Process id of the worker.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When the worker's process started, in the kernel's clock ticks since the node's start.
    #[must_use]
    pub fn process_start(&self) -> u64 {
        self.pstart
    }

    /// When it started, by the node's clock; whole seconds.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        Timestamp(i64::from(self.start).saturating_mul(1000))
    }

    /// What it does: `vzcreate`, `vzstart`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.part(5)
    }

    /// Guest number, storage or file name that it works on; may be empty.
    #[must_use]
    pub fn id(&self) -> &str {
        self.part(6)
    }

    /// User or token that started it: `svc@pve!app`.
    #[must_use]
    pub fn user(&self) -> &str {
        self.part(7)
    }

    fn part(&self, index: usize) -> &str {
        self.text.split(':').nth(index).unwrap_or_default()
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Upid {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        read(text).ok_or_else(|| InvalidId {
            kind: "task",
            text: text.chars().take(60).collect(),
            rule: "UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER: with hexadecimal numbers",
        })
    }
}
impl TryFrom<String> for Upid {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<Upid> for String {
    fn from(upid: Upid) -> Self {
        upid.text
    }
}

/// Longest text that is looked at: eight parts, of which a file name is the longest (255 bytes).
const MOST_BYTES: usize = 512;

fn read(text: &str) -> Option<Upid> {
    if text.len() > MOST_BYTES {
        return None;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let ["UPID", node, pid, pstart, start, kind, id, user, ""] = parts.as_slice() else {
        return None;
    };
    let name_byte = |b: u8| b.is_ascii_alphanumeric();
    let node_ok = node.bytes().all(|b| name_byte(b) || b == b'-')
        && node.bytes().next().is_some_and(name_byte)
        && node.bytes().next_back().is_some_and(name_byte);
    let plain = |t: &str| !t.contains(|c: char| c == '/' || c.is_whitespace());
    if !node_ok || kind.is_empty() || user.is_empty() || ![*kind, *id, *user].into_iter().all(plain)
    {
        return None;
    }
    Some(Upid {
        text: text.to_owned(),
        pid: u32::try_from(hex(pid, 8..=8)?).ok()?,
        pstart: hex(pstart, 8..=9)?,
        start: u32::try_from(hex(start, 8..=8)?).ok()?,
    })
}

fn hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let ok = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if ok { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_of_a_task_are_read() {
        let upid: Upid =
            "UPID:pve1:00000669:0004999E:6B00784F:vzcreate:101:root@pam!admin:".parse().unwrap();
        assert_eq!(upid.node(), "pve1");
        assert_eq!((upid.pid(), upid.process_start()), (1641, 301_470));
        assert_eq!(upid.started(), Timestamp(1_795_192_911_000));
        assert_eq!((upid.kind(), upid.id(), upid.user()), ("vzcreate", "101", "root@pam!admin"));
    }

    #[test]
    fn an_empty_id_and_nine_digits_of_ticks_are_a_task_too() {
        for good in [
            "UPID:n:00000001:123456789:6B00784F:aptupdate::root@pam:",
            "UPID:A-b:0000abcd:0004999E:6B00784F:imgdel:101@tank:root@pam!admin:",
        ] {
            assert_eq!(good.parse::<Upid>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn what_is_no_task_is_refused() {
        for bad in [
            "",
            "UPID:pve1:00000669:0004999E:6B00784F:vzcreate:101:root@pam!admin",
            "UPID:pve1:00000669:0004999E:6B00784F:vzcreate:101:root@pam!admin::",
            "UPID:-pve:00000669:0004999E:6B00784F:vzcreate:101:root@pam:",
            "UPID:pve1:0000669:0004999E:6B00784F:vzcreate:101:root@pam:",
            "UPID:pve1:00000669:0004999E00:6B00784F:vzcreate:101:root@pam:",
            "UPID:pve1:+0000669:0004999E:6B00784F:vzcreate:101:root@pam:",
            "UPID:pve1:00000669:0004999E:6B00784F::101:root@pam:",
            "UPID:pve1:00000669:0004999E:6B00784F:vzcreate:a/b:root@pam:",
            "UPID:pve1:00000669:0004999E:6B00784F:vzcreate:a b:root@pam:",
            "upid:pve1:00000669:0004999E:6B00784F:vzcreate:101:root@pam:",
        ] {
            assert!(bad.parse::<Upid>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_task_survives_its_text_form(
            node in "[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?",
            pid: u32, pstart in 0u64..0xF_FFFF_FFFF, start: u32,
            kind in "[a-z]{1,12}", id in "[^:\\s/]{0,20}", user in "[a-z]{1,8}@pve(![a-z]{2,5})?",
        ) {
            let upid = Upid::new(&node, (pid, pstart), start, &kind, &id, &user).unwrap();
            prop_assert_eq!(upid.to_string().parse::<Upid>().unwrap(), upid.clone());
            prop_assert_eq!((upid.pid(), upid.process_start()), (pid, pstart));
            prop_assert_eq!(upid.id(), id);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            if let Ok(upid) = text.parse::<Upid>() {
                prop_assert_eq!(upid.to_string(), text);
            }
        }
    }
}
