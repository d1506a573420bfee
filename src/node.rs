//! SSH to nodes: sessions with pinned host keys, and the cluster join.
//!
//! The only place that knows russh. What to run and what its output means is decided in `plan::join`.

pub mod join;
pub mod key;
pub mod lock;
pub mod quote;
pub mod ssh;

pub use join::{Join, JoinContext, JoinError, JoinLimits, JoinLog, StepOutcome};
pub use key::EphemeralKey;
pub use lock::{ClusterGuard, ClusterLocks};
pub use ssh::{ConnectError, ErrorClass, ExecError, Limits, Output, Session, Target};
