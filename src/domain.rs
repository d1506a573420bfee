//! Words of the problem, as types: hosts, jobs, images, secrets, and the tables by which they change.
//!
//! Pure: no sockets, no clock, no files, no randomness. Everything here can be tested with plain values.

pub mod account;
pub mod app;
pub mod audit;
pub mod boot;
pub mod boundary;
pub mod discovery;
pub mod event;
pub mod fault;
pub mod fingerprint;
pub mod form;
pub mod gpu;
pub mod guest;
pub mod host;
pub mod id;
pub mod identity;
pub mod image;
pub mod inventory;
pub mod job;
pub mod mac;
pub mod node;
pub mod notice;
pub mod power;
pub mod refusal;
pub mod secret;
pub mod server_type;
pub mod sighting;
pub mod time;
pub mod vmid;
pub mod words;
