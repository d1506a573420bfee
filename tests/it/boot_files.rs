//! Boot files over plain HTTP with the clients that people have: the connection that sends files itself, beside hyper.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::appliance::ADDRESS;
use crate::support::machine::{Machine, http};

const PATIENCE: Duration = Duration::from_secs(60);

/// A world with one armed host; returns the URL of its ISO view without the file's name.
fn armed(world: &mut World<'_>) -> String {
    // Large enough for many calls of sendfile.
    let folder = world.dir().join("iso-tree");
    fs::create_dir_all(&folder).unwrap();
    let filler: Vec<u8> =
        (0..6_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(folder.join("filler"), filler).unwrap();
    world.import_image();
    world.add_host("pve1", 1);
    world.rebuild("pve1");
    world.daemon.wait_for_state("pve1", "pxe_ready");
    Machine::new(1).boot(world.dir()).base
}

/// What hyper answers: an empty line before the request is allowed and hands the connection over at once.
fn over_hyper(request: &str) -> Vec<u8> {
    raw(&format!("\r\n{request}"))
}

fn raw(requests: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// Head (without its date, sorted) and body.
fn parts(answer: &[u8]) -> (Vec<String>, &[u8]) {
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let mut lines: Vec<String> =
        head.split("\r\n").filter(|l| !l.starts_with("date: ")).map(str::to_owned).collect();
    lines[1..].sort();
    (lines, &answer[split + 4..])
}

fn run(dir: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    done.stdout
}

#[test]
fn both_ways_of_a_boot_file_give_the_same_answers() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let base = armed(&mut world);
        let path = base.strip_prefix(&format!("http://{ADDRESS}:8080")).unwrap().to_owned();
        let wrong = format!("/boot/{}", "0".repeat(32));
        let etag = {
            let answer = raw(&request("HEAD", &format!("{path}/proxmox.iso"), ""));
            let (head, _) = parts(&answer);
            head.iter().find_map(|l| l.strip_prefix("etag: ")).unwrap().to_owned()
        };
        let fields = [
            String::new(),
            "range: bytes=0-99\r\n".to_owned(),
            "range: bytes=32768-65535\r\n".to_owned(),
            "range: bytes=-2048\r\n".to_owned(),
            "range: bytes=99999999999-\r\n".to_owned(),
            format!("if-range: {etag}\r\nrange: bytes=10-\r\n"),
            "if-range: \"x\"\r\nrange: bytes=10-\r\n".to_owned(),
            format!("if-none-match: {etag}\r\n"),
        ];
        let files = [
            format!("{path}/proxmox.iso"),
            format!("/{path}//linux26"),
            format!("{path}/initrd.img"),
            format!("{path}/passwd"),
            format!("{path}/../linux26"),
            format!("{wrong}/linux26"),
            "/boot/x/linux26".to_owned(),
            "/boot/ipxe/ipxe.efi".to_owned(),
            "/boot/ipxe/none".to_owned(),
            "/boot/start.ipxe".to_owned(),
            "/boot/".to_owned(),
            "/ipxe/52-54-00-00-00-01".to_owned(),
            "/ipxe/nonsense".to_owned(),
        ];
        let mut statuses = std::collections::BTreeMap::new();
        let compare = |method: &str, file: &str, field: &str| {
            let request = request(method, file, field);
            let (ours, hyper) = (raw(&request), over_hyper(&request));
            let (ours, hyper) = (parts(&ours), parts(&hyper));
            assert_eq!(ours.0, hyper.0, "{request}");
            assert!(ours.1 == hyper.1, "{request}: {} and {}", ours.1.len(), hyper.1.len());
            ours.0[0].clone()
        };
        for file in &files {
            for field in &fields {
                for method in ["GET", "HEAD"] {
                    *statuses.entry(compare(method, file, field)).or_insert(0) += 1;
                }
            }
        }
        for status in ["200 OK", "206 Partial Content", "304", "403", "404", "416"] {
            assert!(statuses.keys().any(|s| s.contains(status)), "{status} in {statuses:?}");
        }
        // Once the answer has left, neither way gives the installer away.
        let machine = Machine::new(1);
        machine.install(&machine.answer_url(world.dir()));
        world.daemon.wait_for_state("pve1", "installing");
        for file in &files[..3] {
            assert!(compare("GET", file, "").contains("403"));
        }
    });
}

fn request(method: &str, file: &str, field: &str) -> String {
    format!("{method} {file} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{field}\r\n")
}

#[test]
fn usual_clients_fetch_boot_files_whole_in_parts_and_over_one_connection() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let base = armed(&mut world);
        let iso = format!("{base}/proxmox.iso");
        let dir = world.dir().to_owned();
        let request = format!("GET {} HTTP/1.1\r\nconnection: close\r\n\r\n", path_of(&iso));
        let answer = over_hyper(&request);
        let whole = parts(&answer).1;
        assert!(whole.len() > 6_000_000);

        run(&dir, "curl", &["-sSf", "-o", "curl.iso", &iso]);
        assert!(fs::read(dir.join("curl.iso")).unwrap() == whole);
        run(&dir, "wget", &["-q", "-O", "wget.iso", &iso]);
        assert!(fs::read(dir.join("wget.iso")).unwrap() == whole);
        // A download that broke off goes on where it was.
        fs::write(dir.join("wget.iso"), &whole[..1_234_567]).unwrap();
        run(&dir, "wget", &["-q", "-c", "-O", "wget.iso", &iso]);
        assert!(fs::read(dir.join("wget.iso")).unwrap() == whole);
        let part = run(&dir, "curl", &["-sSf", "-r", "32000-99999", &iso]);
        assert!(part == whole[32_000..100_000]);
        let head = run(&dir, "curl", &["-sSfI", &iso]);
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", whole.len())), "{head}");

        // A script, a file, a part, something of hyper's, and a file again, over one connection.
        let (script, kernel) =
            (format!("http://{ADDRESS}:8080/ipxe/52-54-00-00-00-01"), format!("{base}/linux26"));
        let health = format!("http://{ADDRESS}:8080/api/health");
        let told = run(
            &dir,
            "curl",
            &[
                "-sS",
                "-w",
                "%{http_code} %{num_connects}\n",
                "-o",
                "a",
                &script,
                "-o",
                "b",
                &kernel,
                "-o",
                "c",
                &iso,
                "-o",
                "d",
                &health,
                "-o",
                "e",
                &kernel,
                "-o",
                "f",
                &iso,
            ],
        );
        let told = String::from_utf8(told).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 6, "{told}");
        assert_eq!(lines.iter().filter(|l| l.ends_with(" 1")).count(), 1, "{told}");
        assert!([1, 2, 4, 5].iter().all(|n| lines[*n].starts_with("200 ")), "{told}");
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        assert!(read("b") == vec![0x4B; 70_001] && read("e") == read("b"));
        assert!(read("c") == whole && read("f") == whole);
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
    });
}

/// Heaps that glibc keeps for threads of a process beside its first: 64 MiB of addresses each, the unused end without access
/// (glibc's malloc/arena.c, `HEAP_MAX_SIZE`).
fn heaps_of_threads(pid: u32) -> usize {
    const HEAP: u64 = 64 << 20;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let ranges = maps.lines().map(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        (from, to, rest.get(..4).unwrap_or_default())
    });
    let ranges: Vec<_> = ranges.collect();
    let is_heap = |pair: &&[(u64, u64, &str)]| {
        let [(from, middle, "rw-p"), (after, to, "---p")] = *pair else { return false };
        from % HEAP == 0 && middle == after && from + HEAP == *to
    };
    ranges.windows(2).filter(is_heap).count()
}

fn path_of(url: &str) -> &str {
    url.strip_prefix(&format!("http://{ADDRESS}:8080")).unwrap()
}

#[test]
fn sixty_four_machines_at_once_get_every_byte_and_broken_off_ones_disturb_nobody() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let base = armed(&mut world);
        let path = path_of(&base).to_owned();
        let ask =
            format!("GET {path}/proxmox.iso HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let expected = Sha256::digest(parts(&over_hyper(&ask)).1);
        std::thread::scope(|scope| {
            for n in 0..64 {
                let ask = &ask;
                scope.spawn(move || {
                    if n % 4 == 3 {
                        // Switched off in the middle.
                        let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
                        stream.write_all(ask.as_bytes()).unwrap();
                        stream.read_exact(&mut vec![0; 10_000 * n]).unwrap();
                    } else {
                        let answer = raw(ask);
                        assert_eq!(Sha256::digest(parts(&answer).1), expected, "client {n}");
                    }
                });
            }
        });
        // Who stops reading holds no memory of ours; who begins a head and stays silent blocks nobody.
        let silent: Vec<TcpStream> = (0..200)
            .map(|n| {
                let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
                let begun = if n % 2 == 0 { &ask[..ask.len() - 2] } else { &ask };
                stream.write_all(begun.as_bytes()).unwrap();
                stream
            })
            .collect();
        assert_eq!(http("GET", &format!("{path}/linux26"), &[], b"").status, 200);
        assert!(world.daemon.resident_kib() < 200 << 10, "{} KiB", world.daemon.resident_kib());
        // This process, with a thread for each client, shows that they would be seen.
        assert_ne!(heaps_of_threads(std::process::id()), 0, "are glibc's heaps other ones now?");
        assert_eq!(heaps_of_threads(world.daemon.pid()), 0, "heaps beside the one of all threads");
        drop(silent);
        // What became of the transfers is told on the host's page.
        world.daemon.wait_for_page("/hosts/pve1", "proxmox.iso broke off");
        world.daemon.wait_for_page("/hosts/pve1", "proxmox.iso fetched");
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_booted");
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
    });
}
