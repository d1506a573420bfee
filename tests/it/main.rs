//! The one integration binary: everything that needs the whole library or a real program.

mod bad_input;
mod browser;
mod dhcp;
mod first_boot;
mod iso;
mod join;
mod rebuild;
mod rules;
mod support;
