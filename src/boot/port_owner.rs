//! Who holds a port that we could not bind: the name for the error message.
//!
//! Reads `/proc/net/{udp,tcp}{,6}` for the socket's inode and `/proc/PID/fd` for its owner. Without the right to read
//! other users' descriptors the answer is simply not known. Called at start only: it walks every process.

use std::fmt;
use std::fs;
use std::path::Path;

/// A transport whose ports are counted on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP; only listening sockets are looked at.
    Tcp,
}

/// The process that holds a port. Displays as `dnsmasq (process 812)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// Process id.
    pub pid: u32,
    /// Its short name (`/proc/PID/comm`).
    pub name: String,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Looks at `/proc`: neither its tables nor its list of processes is read at one instant, so that a busy machine may hide
/// an entry from one look.
const LOOKS: u32 = 3;

/// The process that holds `port` in our network namespace, as far as `/proc` tells.
#[must_use]
pub fn find(transport: Transport, port: u16) -> Option<PortOwner> {
    (0..LOOKS).find_map(|_| look(transport, port))
}

fn look(transport: Transport, port: u16) -> Option<PortOwner> {
    let tables = match transport {
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_of_port(&table, transport, port))
        .collect();
    if inodes.is_empty() { None } else { owner_of(&inodes) }
}

/// Socket inodes of one port in a table of `/proc/net` (proc(5)): the second column is `ADDRESS:PORT` in hex, the fourth
/// the state (0A is a listening TCP socket), the tenth the inode.
fn inodes_of_port(table: &str, transport: Transport, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
        let same = u16::from_str_radix(local_port, 16).ok()? == port;
        let open = transport == Transport::Udp || *columns.get(3)? == "0A";
        (same && open).then(|| columns.get(9)?.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(inode).filter(|&i| i != 0).collect()
}

fn owner_of(inodes: &[u64]) -> Option<PortOwner> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .find(|(_, path)| holds_any(path, &wanted))
        .map(|(pid, path)| PortOwner { pid, name: short_name(&path) })
}

fn holds_any(process: &Path, wanted: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path())
            .is_ok_and(|target| wanted.iter().any(|w| target.as_os_str() == w.as_str()))
    })
}

fn short_name(process: &Path) -> String {
    fs::read_to_string(process.join("comm"))
        .map_or_else(|_| "unnamed".to_owned(), |name| name.trim_end().to_owned())
}

#[cfg(test)]
mod test {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn our_own_sockets_are_found_by_their_port() {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        for (transport, address) in
            [(Transport::Udp, udp.local_addr()), (Transport::Tcp, tcp.local_addr())]
        {
            let owner = find(transport, address.expect("bound").port()).expect("we hold it");
            assert_eq!(owner.pid, std::process::id());
            assert!(!owner.name.is_empty());
        }
    }

    #[test]
    fn the_columns_are_read_as_proc_5_describes_them() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
              10: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0\n\
              11: 0100007F:0045 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 2 0 0\n\
              12: 0100007F:0045 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4713 2 0 0\n\
              short line\n";
        assert_eq!(inodes_of_port(table, Transport::Udp, 67), [4711]);
        assert_eq!(inodes_of_port(table, Transport::Tcp, 69), [4712]);
        assert!(inodes_of_port(table, Transport::Udp, 4011).is_empty());
    }
}
