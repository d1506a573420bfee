//! SSH to nodes: sessions with pinned host keys, the cluster join, and the root channel.
//!
//! The only place that knows russh. What to run and what its output means is decided in `plan::join`.

pub mod agent;
pub mod channel;
pub mod enroll;
pub mod host_key;
pub mod join;
pub mod key;
pub mod lock;
pub mod quote;
pub mod ssh;

pub use agent::AgentConfig;
pub use channel::{CallLimits, Channel, ChannelError, Outcome};
pub use enroll::{EnrollContext, EnrollError, EnrollLimits, Enrolled, Enrolment, Login};
pub use join::{Join, JoinContext, JoinError, JoinLimits, JoinLog, StepOutcome};
pub use key::EphemeralKey;
pub use lock::{Behind, ClusterGuard, ClusterLocks};
pub use ssh::{ConnectError, ErrorClass, ExecError, Limits, Output, Session, Target};
