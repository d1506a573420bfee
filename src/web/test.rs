//! The router as a whole, against a real database: who may do what, what the pages show, what the stream replays.

mod access;
mod answer;
mod auth;
mod boot_scene;
pub(crate) mod bulk;
pub(crate) mod catalog;
mod described;
pub(crate) mod doctor;
mod document;
mod fleet;
mod golden;
mod guest_api;
mod guest_page;
pub(crate) mod guest_scene;
pub(crate) mod guests;
mod limits;
pub(crate) mod notify;
pub(crate) mod operations;
pub(crate) mod sample;
pub(crate) mod scene;
mod stream;
pub(crate) mod types;
