//! The targets. Each one reads an input, gives it to the code under test, and panics when a promise is broken.

mod agent;
mod answers;
mod appliance;
mod bodies;
mod channel;
mod dhcp;
mod events;
mod heads;
mod http;
mod iso;
mod manifests;
mod server_types;
mod tftp;

use ironhatch::config::Problem;

/// Named inputs to begin with.
pub(crate) type Seeds = Vec<(String, Vec<u8>)>;

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    pub(crate) seeds: fn() -> Seeds,
    /// Bytes that an input may allocate at most at a time: these, and so many for each of its own.
    pub(crate) base_bytes: usize,
    pub(crate) bytes_per_byte: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "dhcp",
        run: dhcp::run,
        seeds: dhcp::seeds,
        base_bytes: 64 * KIB,
        bytes_per_byte: 32,
    },
    Target {
        name: "tftp",
        run: tftp::run,
        seeds: tftp::seeds,
        // The models keep what they received, from three files of 70 KB at the most, for each of 24 clients.
        base_bytes: 4 * MIB,
        bytes_per_byte: 256,
    },
    Target {
        name: "http",
        run: http::run,
        seeds: http::seeds,
        // Pieces of 256 KiB, the view of the sample image, and the database's pages.
        base_bytes: 8 * MIB,
        bytes_per_byte: 256,
    },
    Target {
        name: "bodies",
        run: bodies::run,
        seeds: bodies::seeds,
        // A parsed JSON object is a hundred times as large as its shortest text.
        base_bytes: 256 * KIB,
        bytes_per_byte: 256,
    },
    Target {
        name: "iso",
        run: iso::run,
        seeds: iso::seeds,
        // The image and its view in memory, and the longest directory that is read.
        base_bytes: 8 * MIB,
        bytes_per_byte: 64,
    },
    Target {
        name: "server-types",
        run: server_types::run,
        seeds: server_types::seeds,
        base_bytes: MIB,
        bytes_per_byte: 2 * KIB,
    },
    Target {
        name: "answers",
        run: answers::run,
        seeds: answers::seeds,
        base_bytes: 4 * MIB,
        bytes_per_byte: 2 * KIB,
    },
    Target {
        name: "manifests",
        run: manifests::run,
        seeds: manifests::seeds,
        base_bytes: 2 * MIB,
        bytes_per_byte: 2 * KIB,
    },
    Target {
        name: "events",
        run: events::run,
        seeds: events::seeds,
        base_bytes: 4 * MIB,
        bytes_per_byte: 256,
    },
    Target {
        name: "channel",
        run: channel::run,
        seeds: channel::seeds,
        // A parsed JSON object is a hundred times as large as its shortest text.
        base_bytes: 256 * KIB,
        bytes_per_byte: 256,
    },
    Target {
        name: "agent",
        run: agent::run,
        seeds: agent::seeds,
        base_bytes: 256 * KIB,
        bytes_per_byte: 256,
    },
    Target {
        name: "heads",
        run: heads::run,
        seeds: heads::seeds,
        base_bytes: 256 * KIB,
        bytes_per_byte: 64,
    },
];

/// Seeds from texts.
fn texts<const N: usize>(all: [(&str, &str); N]) -> Seeds {
    all.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}

/// What is said of a text that does not pass is short and names a line that is there.
fn check_problem(problem: &Problem, text: &str) {
    // An empty file has one line; the parsers count the end as a line, too. YAML ends lines also with CR alone, and its
    // version 1.1 with three more characters.
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    assert!(problem.line <= lines + 1, "{problem:?} is nowhere");
    assert!(problem.message.len() < 2000, "{} bytes of message", problem.message.len());
}
