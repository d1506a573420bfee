//! Thin sockets for firmware: DHCP and TFTP. Decisions are taken in `plan` and `proto`.

pub mod dhcp;
pub mod port_owner;
pub mod rehearsal;
pub mod tftp;
