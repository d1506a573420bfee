//! Applications on a node: the real daemon, the strict double of the API, a real sshd with the node's agent, and programs
//! that really run in the containers' root directories.

mod around;
mod browse;
mod crash;
mod life;
mod refusal;
pub(crate) mod world;
