//! HTTP: what machines fetch, what operators use.

pub mod file;
pub mod machine;
pub mod problem;
