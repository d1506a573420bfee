//! The catalog: reads apps from the binary, from folders and from Git repositories, checks them, and keeps copies of
//! what is in use. Called by the drivers of jobs, the pages and `ironhatch app lint`.
//!
//! An app is a folder `apps/<id>/` with a manifest `app.toml` (or `app.yml`), described in `docs/apps.md`. Everything in it
//! is hostile until it is read: a broken app becomes a `BrokenApp` with its reasons and hides no other.

pub mod folder;
pub mod lint;
pub mod manifest;
