//! Decisions as pure functions: what to offer to a packet, which answer in which dialect, which steps make a rebuild,
//! what becomes of a form.

pub mod answer;
pub mod authority;
pub mod bulk;
pub mod cluster;
pub mod diagnosis;
pub mod doctor;
pub mod enroll;
pub mod firmware;
pub mod fleet;
pub mod guest;
pub mod host_text;
pub mod join;
pub mod lease;
pub mod matching;
pub mod notice;
pub mod offer;
pub mod power;
pub mod rack;
pub mod rebuild;
pub mod roster;
pub mod script;
pub mod service;
pub mod setup;
pub mod template;
