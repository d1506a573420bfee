//! The job engine: what operators and machines ask for becomes durable work that survives a crash.
//!
//! ```text
//!  operator ──request──┐                              ┌── callback ── machine (script, answer, webhook, phone-home)
//!                      v                              v
//!                  one store transaction each: host state + job step + event
//!                      │ committed                    │
//!                      v                              v
//!             driver task, one per job: reads job and host, asks `plan` what is next, runs it, records it
//! ```
//!
//! The store holds all state. A driver keeps nothing that a restart would miss: it looks at what is recorded and goes on.

mod appliance;
mod bulk;
mod callback;
mod catalog;
mod check;
mod cluster;
mod end;
mod engine;
mod enroll;
mod guest;
mod import;
mod join;
mod look;
mod member;
mod member_key;
mod power;
mod preview;
mod reach;
mod rebuild;
mod record;
mod registration;
mod request;
mod runner;
mod server_type;
mod type_file;

pub use appliance::Appliance;
pub use bulk::{BulkChoice, BulkRequest, BulkReview, LeftOut};
pub use callback::{BootDecision, Callback, NodeReport, ScriptRequest};
pub use engine::{CallbackBase, Context, Engine, PinnedCertificate};
pub use enroll::EnrollRequest;
pub use guest::{Archive, Archives, Guests, Layer, Site, Vitals};
pub use look::configured_member;
pub use power::{NewPassword, POWER_SECRET, PowerAnswer, PowerChange};
pub use preview::AnswerPreview;
pub use registration::ImportMode;
pub use request::{HostChange, ImportRequest, NewHost, RebuildRequest};
pub use server_type::{
    Finding, HostOfType, Lost, ReadOnly, TypeFile, TypeOverview, TypeRow, TypeTrial, Unsaved,
};
