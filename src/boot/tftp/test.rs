use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::*;
use crate::domain::boot::BootObservation;

#[derive(Default)]
struct Heard(Mutex<Vec<BootObservation>>);

impl BootSink for Heard {
    fn observe(&self, observation: BootObservation) {
        self.0.lock().expect("no test panics with it").push(observation);
    }
}

impl Heard {
    fn sentences(&self) -> Vec<String> {
        self.0.lock().expect("no test panics with it").iter().map(|o| o.message.clone()).collect()
    }
}

struct Running {
    address: SocketAddr,
    files: Arc<BootFiles>,
    heard: Arc<Heard>,
    counters: Arc<Counters>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn config(port: u16) -> TftpConfig {
    TftpConfig { port, ..TftpConfig::on(vec![Ipv4Addr::LOCALHOST]) }
}

fn start() -> Running {
    let files = Arc::new(BootFiles::embedded("#!ipxe\n"));
    let heard = Arc::new(Heard::default());
    let server = Server::bind(config(0), Arc::clone(&files), heard.clone()).expect("bound");
    let address = server.local_addresses().next().expect("one socket");
    let counters = server.counters();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(server.run(cancel.clone()));
    Running { address, files, heard, counters, cancel, task }
}

/// Reads a file as a client would; repeats its last packet when nothing comes for a second.
async fn fetch(server: SocketAddr, name: &str, window: u16) -> Result<Vec<u8>, String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
    let mut last =
        format!("\0\x01{name}\0octet\0blksize\x001468\0windowsize\x00{window}\0tsize\x000\0")
            .into_bytes();
    let mut file = Vec::new();
    let (mut blocks, mut since_ack) = (0u16, 0);
    let mut buffer = [0; 2048];
    socket.send_to(&last, server).await.map_err(|e| e.to_string())?;
    loop {
        let received =
            tokio::time::timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await;
        let Ok(received) = received else {
            socket.send_to(&last, server).await.map_err(|e| e.to_string())?;
            continue;
        };
        let (length, from) = received.map_err(|e| e.to_string())?;
        assert_eq!(from, server, "replies come from where the request went");
        let complete = match &buffer[..length] {
            [0, 6, ..] => false,
            [0, 3, high, low, body @ ..] => {
                if u16::from_be_bytes([*high, *low]) == blocks.wrapping_add(1) {
                    blocks = blocks.wrapping_add(1);
                    since_ack += 1;
                    file.extend_from_slice(body);
                    if body.len() == 1468 && since_ack < window {
                        continue;
                    }
                    body.len() < 1468
                } else {
                    false
                }
            }
            [0, 5, ..] => return Err(String::from_utf8_lossy(&buffer[4..length]).into_owned()),
            other => panic!("unexpected datagram {other:?}"),
        };
        since_ack = 0;
        let [high, low] = blocks.to_be_bytes();
        last = vec![0, 4, high, low];
        socket.send_to(&last, server).await.map_err(|e| e.to_string())?;
        if complete {
            return Ok(file);
        }
    }
}

#[tokio::test]
async fn a_file_arrives_from_the_address_that_was_asked() {
    let running = start();
    let got = fetch(running.address, "SNPONLY.EFI\u{7f}", 4).await.expect("served");
    assert_eq!(Some(Bytes::from(got)), running.files.get("snponly.efi"));
    let autoexec = fetch(running.address, "/autoexec.ipxe", 1).await;
    assert_eq!(autoexec, Ok(b"#!ipxe\n".to_vec()));
    running.cancel.cancel();
    running.task.await.expect("ends on cancel");
    let said = running.heard.sentences();
    assert!(said[0].starts_with("sending snponly.efi (284672 bytes) to 127.0.0.1:"), "{said:?}");
    assert!(said[1].starts_with("sent snponly.efi (284672 bytes in "), "{said:?}");
}

#[tokio::test]
async fn only_boot_files_can_be_read() {
    let running = start();
    for name in ["/etc/hostname", "../../etc/passwd", "Cargo.toml"] {
        assert!(fetch(running.address, name, 1).await.is_err(), "{name}");
    }
    assert_eq!(running.counters.not_found.load(Ordering::Relaxed), 3);
    let observations = running.heard.0.lock().expect("no test panics with it").clone();
    assert_eq!(observations.len(), 3);
    assert!(observations.iter().all(|o| !o.answered && o.address == Some(Ipv4Addr::LOCALHOST)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_once_all_get_the_file() {
    let running = start();
    let want = running.files.get("undionly.kpxe").expect("embedded");
    let mut clients = JoinSet::new();
    for number in 0..200u16 {
        let address = running.address;
        clients.spawn(async move { fetch(address, "undionly.kpxe", number % 8 + 1).await });
    }
    while let Some(got) = clients.join_next().await {
        assert!(got.expect("no panic").expect("served") == want, "a client got another file");
    }
    running.cancel.cancel();
    running.task.await.expect("ends on cancel");
    assert_eq!(running.counters.started.load(Ordering::Relaxed), 200);
}

#[tokio::test]
async fn junk_is_counted_and_the_next_request_is_answered() {
    let running = start();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let junk = vec![0xffu8; 60_000];
    for length in [0, 1, 2, 3, 100, 1500, 60_000] {
        socket.send_to(&junk[..length], running.address).await.expect("sent");
    }
    assert!(fetch(running.address, "autoexec.ipxe", 1).await.is_ok());
    assert_eq!(running.counters.malformed.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn a_taken_port_or_a_foreign_address_is_refused_in_plain_words() {
    let first = start();
    let bind = |config| {
        let files = Arc::new(BootFiles::default());
        Server::bind(config, files, Arc::new(Heard::default())).map(|_| ()).expect_err("refused")
    };
    let taken = bind(config(first.address.port()));
    assert!(matches!(taken, BindError::Taken { .. }), "{taken:?}");
    let holder = format!("(process {})", std::process::id());
    assert!(taken.to_string().contains(&holder), "{taken}");
    let elsewhere = TftpConfig::on(vec![Ipv4Addr::new(192, 0, 2, 77)]);
    let foreign = bind(TftpConfig { port: 0, ..elsewhere });
    assert!(foreign.to_string().contains("192.0.2.77"), "{foreign}");
    assert!(matches!(bind(TftpConfig::on(vec![])), BindError::NoAddress));
    assert!(matches!(bind(TftpConfig::on(vec![Ipv4Addr::UNSPECIFIED])), BindError::Wildcard));
}
