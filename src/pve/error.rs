//! What can go wrong with a call, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::fault::ErrorClass;
use crate::domain::id::NodeName;
use crate::proto::pve::{Complaint, Missing, Upid};

/// Which call it was. Parameters are left out: they may hold what must not be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The member that was asked.
    pub member: NodeName,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Path below `/api2/json`, without parameters.
    pub path: String,
    /// Status of the answer; `None`: there was none.
    pub status: Option<u16>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.method, self.path, self.member)
    }
}

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum PveError {
    /// No member could be reached. Nothing was sent.
    #[error("no member of the cluster answers: {detail}")]
    Unreachable {
        /// Each member with its reason.
        detail: String,
    },
    /// A member shows another certificate than the pinned one. Nothing was sent to it.
    #[error("{member} shows the certificate {seen}, expected was {expected}")]
    Certificate {
        /// The member.
        member: NodeName,
        /// SHA-256 that it showed, in the form `AE:F4:…`.
        seen: String,
        /// SHA-256 that is pinned.
        expected: String,
    },
    /// A change was sent and its answer lost: it may have been made. Look for the guest, or with [`super::Cluster::find_task`].
    #[error("it is not known whether this was carried out: {call}: {message}")]
    Unknown {
        /// The call.
        call: Box<Call>,
        /// What broke.
        message: String,
    },
    /// The token was revoked, or never was one.
    #[error("the cluster does not accept the API token: {call}: {message}")]
    Unauthenticated {
        /// The call.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// The token lacks a privilege, or it is something that only `root@pam` itself may do.
    #[error("not allowed: {call}: {message}")]
    Forbidden {
        /// The call.
        call: Box<Call>,
        /// Path of the access control list; empty: not said.
        path: String,
        /// The privilege, alternatives joined by `|`; empty: not said.
        privilege: String,
        /// What the cluster says.
        message: String,
    },
    /// Something that the call is about does not exist.
    #[error("{call}: {message}")]
    NotFound {
        /// The call.
        call: Box<Call>,
        /// What it is.
        missing: Missing,
        /// What the cluster says.
        message: String,
    },
    /// The number or name is taken.
    #[error("{call}: {message}")]
    AlreadyExists {
        /// The call.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// The guest is locked.
    #[error("{call}: {message}")]
    Locked {
        /// The call.
        call: Box<Call>,
        /// By which kind of task; `None`: its configuration is just being written.
        lock: Option<String>,
        /// What the cluster says.
        message: String,
    },
    /// The cluster has no quorum: nothing can be changed.
    #[error("the cluster has no quorum: {call}: {message}")]
    NoQuorum {
        /// The call.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// The configuration is not the one whose digest was sent.
    #[error("{call}: {message}")]
    Modified {
        /// The call.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// The guest runs already, or does not run.
    #[error("{call}: {message}")]
    PowerState {
        /// The call.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// Parameters were refused.
    #[error("{call}: {message}")]
    Invalid {
        /// The call.
        call: Box<Call>,
        /// Parameter to text.
        errors: BTreeMap<String, String>,
        /// All of them in one line.
        message: String,
    },
    /// A member answered that it cannot reach the node in question, or its own daemon. Not carried out.
    #[error("the node cannot be reached through the cluster: {call}: {message}")]
    NotConnected {
        /// The call.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// A read broke off, at every member and in every round.
    #[error("no complete answer: {call}: {message}")]
    Interrupted {
        /// The call.
        call: Box<Call>,
        /// What broke.
        message: String,
    },
    /// The cluster refused with words that have no meaning of their own here.
    #[error("{call}: {message}")]
    Refused {
        /// The call, with its status.
        call: Box<Call>,
        /// What the cluster says.
        message: String,
    },
    /// An answer that cannot be understood, or is too long.
    #[error("the answer cannot be read: {call}: {message}")]
    Unreadable {
        /// The call.
        call: Box<Call>,
        /// What is wrong with it.
        message: String,
    },
    /// A value that the API has no form for, such as a path with a comma. Nothing was sent.
    #[error("this cannot be said to the cluster: {message}")]
    Unsendable {
        /// What and why.
        message: String,
    },
    /// A task did not end within the caller's time. It goes on.
    #[error("the task {upid} did not end within {seconds} s")]
    StillRunning {
        /// The task.
        upid: Box<Upid>,
        /// The caller's limit.
        seconds: u64,
    },
}

impl PveError {
    /// What to do with it. [`Self::Unknown`] is transient, but must not simply be repeated.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. }
            | Self::Unknown { .. }
            | Self::Locked { .. }
            | Self::NoQuorum { .. }
            | Self::Modified { .. }
            | Self::NotConnected { .. }
            | Self::Interrupted { .. }
            | Self::StillRunning { .. } => ErrorClass::Transient,
            Self::Certificate { .. }
            | Self::Unauthenticated { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::PowerState { .. }
            | Self::Invalid { .. } => ErrorClass::Denied,
            Self::Refused { .. } | Self::Unreadable { .. } | Self::Unsendable { .. } => {
                ErrorClass::Broken
            }
        }
    }

    /// A change was sent and nobody knows whether it was made.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// The token may not do this. With rights on a pool only, this is also said of a guest that does not exist.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// The guest that was asked about does not exist on that node.
    #[must_use]
    pub fn is_no_guest(&self) -> bool {
        matches!(self, Self::NotFound { missing: Missing::Guest, .. })
    }

    /// The call was refused for what it was, with this meaning and text.
    pub(super) fn refused(call: Call, complaint: Complaint, message: String) -> Self {
        let call = Box::new(call);
        match complaint {
            Complaint::Unauthenticated => Self::Unauthenticated { call, message },
            Complaint::Forbidden { path, privilege } => {
                Self::Forbidden { call, path, privilege, message }
            }
            Complaint::NotFound(missing) => Self::NotFound { call, missing, message },
            Complaint::AlreadyExists | Complaint::AlreadyMember => {
                Self::AlreadyExists { call, message }
            }
            Complaint::Locked(lock) => Self::Locked { call, lock, message },
            Complaint::NoQuorum => Self::NoQuorum { call, message },
            Complaint::Modified => Self::Modified { call, message },
            Complaint::PowerState => Self::PowerState { call, message },
            Complaint::Invalid(errors) => Self::Invalid { call, errors, message },
            Complaint::NotConnected => Self::NotConnected { call, message },
            Complaint::Interrupted => Self::Interrupted { call, message },
            Complaint::NotImplemented | Complaint::Other => Self::Refused { call, message },
        }
    }
}
