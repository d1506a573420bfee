//! The one integration binary: everything that needs the whole library or a real program.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, elided_lifetimes_in_paths)] // a test that unwraps says where it failed

mod access;
mod apps;
mod bad_input;
mod boot_files;
mod boot_problems;
mod browser;
mod bundle;
mod catalog;
mod cluster;
mod dhcp;
mod doctor;
mod first_boot;
mod full_mode;
mod iso;
mod join;
mod node;
mod notify;
mod power;
mod pve;
mod rebuild;
mod report;
mod rules;
mod setup;
mod support;
