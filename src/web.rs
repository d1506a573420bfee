//! HTTP: what machines fetch, what operators use.

pub mod file;
