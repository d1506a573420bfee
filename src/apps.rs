//! The catalog: reads apps from the binary, from folders and from Git repositories, checks them, and keeps copies of
//! what is in use; publishes service definitions. Called by the drivers of jobs, the pages and `ironhatch app lint`.
//!
//! An app is a folder `apps/<id>/` with a manifest `app.toml` (or `app.yml`), described in `docs/apps.md`. Everything in it
//! is hostile until it is read: a broken app becomes a `BrokenApp` with its reasons and hides no other.
//!
//! ```text
//!   binary ----------------------------+
//!   folder of the appliance -----------+--> source: folder::load of each app --> Catalog (watch) --> pages, forms
//!   Git: fetch -> catalog/<name>/tree -+                                     \-> copies: apps/<hash>/ while in use
//! ```

pub mod built_in;
mod copies;
pub mod folder;
mod library;
pub mod lint;
pub mod manifest;
pub mod publish;
pub mod schema;
mod source;

pub use copies::CopyError;
pub use library::{BuiltIn, Clock, FilesError, Library, RefreshError};
