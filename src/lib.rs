//! Ironhatch: turns a blank machine on the LAN into a working Proxmox VE node.

pub mod app;
pub mod apps;
pub mod assets;
pub mod boot;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod domain;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod git;
#[cfg(test)]
mod golden;
pub mod image;
pub mod jobs;
pub mod limits;
pub mod node;
pub mod observe;
pub mod outbound;
pub mod plan;
pub mod power;
pub mod proto;
pub mod pve;
pub mod report;
pub mod store;
pub mod web;
