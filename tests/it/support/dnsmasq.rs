//! The LAN's own DHCP server, as most home networks have it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// dnsmasq in the network of the calling thread. Ends with the test, whatever its outcome.
pub(crate) struct Dnsmasq(Child);

impl Dnsmasq {
    /// Starts it on this interface; what it gives is in `more`.
    pub(crate) fn start(interface: &str, more: &[&str]) -> Self {
        let mut child = Command::new("dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--bind-dynamic", "--port=0"])
            .args(["--dhcp-leasefile=/dev/null", "--pid-file=", "--user=root"])
            .arg(format!("--interface={interface}"))
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("dnsmasq is installed");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = log.lines().map_while(Result::ok);
        // `DHCP, IP range …` or `DHCP, proxy on subnet …`: its sockets are open by then.
        assert!(lines.any(|line| line.contains("DHCP, ")), "dnsmasq does not start");
        // Its later lines must find a reader, or it dies of the closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
