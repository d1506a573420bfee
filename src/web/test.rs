//! The router as a whole, against a real database: who may do what, what the pages show, what the stream replays.

mod auth;
mod golden;
pub(crate) mod operations;
pub(crate) mod sample;
pub(crate) mod scene;
mod stream;
