//! The router as a whole, against a real database: who may do what, what the pages show, what the stream replays.

mod auth;
mod golden;
mod operations;
pub(crate) mod sample;
mod scene;
mod stream;
