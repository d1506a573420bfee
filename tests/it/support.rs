//! What the stories share: the real daemon as a child process, its control socket, and a machine that plays its part.

pub(crate) mod appliance;
pub(crate) mod daemon;
pub(crate) mod dnsmasq;
pub(crate) mod heard;
pub(crate) mod machine;
pub(crate) mod wire;
