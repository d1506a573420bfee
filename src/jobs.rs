//! The job engine and everything an operator can ask for.

mod request;

pub use request::{Engine, HostChange, ImportRequest, NewHost, RebuildRequest};
