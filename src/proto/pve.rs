//! The words of the Proxmox VE API as pure values: tasks, property strings, errors, releases, container configurations.
//!
//! Facts are those of PVE 8.2 to 9.2. Used by the API client and by its double, so that both agree on the form.

pub mod cluster;
pub mod complaint;
pub mod conf;
pub mod encode;
pub mod property_string;
pub mod release;
pub mod task;
pub mod upid;
pub mod value;

pub use cluster::{GuestKind, GuestRow, NodeStatus};
pub use complaint::{Complaint, Missing};
pub use conf::ContainerConfig;
pub use property_string::PropertyString;
pub use release::PveVersion;
pub use task::{TaskEnd, TaskState};
pub use upid::Upid;
pub use value::size_gb;
