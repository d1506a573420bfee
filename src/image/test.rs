use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;
use crate::proto::iso9660::{Extent, sample};

/// An installer image of some MiB, so that it takes more than one piece.
fn image() -> Vec<u8> {
    let filler: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    sample::image(&[
        (".cd-info", sample::cd_info("pve", "Proxmox VE", "9.2").as_bytes()),
        ("auto-installer-capable", b""),
        ("pve-base.squashfs", &filler),
        ("boot/linux26", &[0x4B; 5000]),
        ("boot/initrd.img", &[0x49; 9001]),
    ])
}

fn limits() -> ImportLimits {
    ImportLimits { margin: 1 << 20, ..ImportLimits::default() }
}

async fn store(dir: &Path) -> ImageStore {
    ImageStore::open(dir.join("images"), limits()).await.unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn fetch(store: &ImageStore, source: &Source) -> Result<Fetched, ImportError> {
    store.fetch(source, &CancellationToken::new(), |_, _| ()).await
}

async fn import(store: &ImageStore, source: &Source) -> Result<Committed, ImportError> {
    store.check_source(source).await?;
    let fetched = fetch(store, source).await?;
    let inspected = store.verify(&fetched, None).await?;
    store.commit(&fetched, &inspected, Timestamp(1), None).await
}

fn file(dir: &Path, name: &str, bytes: &[u8]) -> Source {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    Source::Path(path)
}

#[tokio::test]
async fn an_image_is_imported_opened_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = (store(dir.path()).await, image());
    let source = file(dir.path(), "a.iso", &bytes);
    let Committed::New(image) = import(&store, &source).await.unwrap() else { panic!("new") };
    assert_eq!(image.id.as_str(), "proxmox-ve-9.2-1");
    assert_eq!(image.sha256, hex(&Sha256::digest(&bytes)));
    assert_eq!(image.size, bytes.len() as u64);
    assert_eq!(names(dir.path()), ["proxmox-ve-9.2-1.iso"]);
    assert!(std::fs::read(store.path(&image)).unwrap() == bytes);

    let open = store.open_image(&image).await.unwrap();
    let Extent { offset, len } = open.content.kernel;
    let start = usize::try_from(offset).unwrap();
    assert!(bytes[start..start + usize::try_from(len).unwrap()] == [0x4B; 5000]);
    assert!(open.view(b"mode").unwrap().len() > image.size);
    assert_ne!(open.view_tag(b"token a"), open.view_tag(b"token b"));
    assert_ne!(open.extent_tag(open.content.kernel), open.extent_tag(open.content.initrd));

    store.delete(&image).await.unwrap();
    store.delete(&image).await.unwrap();
    assert!(matches!(store.open_image(&image).await, Err(OpenError::File { .. })));
}

#[tokio::test]
async fn the_same_file_again_is_already_there_and_another_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut bytes) = (store(dir.path()).await, image());
    let first = file(dir.path(), "a.iso", &bytes);
    import(&store, &first).await.unwrap();
    let again = file(dir.path(), "b.iso", &bytes);
    assert!(matches!(import(&store, &again).await.unwrap(), Committed::AlreadyThere(_)));
    bytes.extend_from_slice(b"another build");
    let other = file(dir.path(), "c.iso", &bytes);
    let error = import(&store, &other).await.unwrap_err();
    assert!(error.to_string().contains("already imported from a different file"), "{error}");

    // A commit that is repeated after a crash finds its own work.
    let fetched = Fetched {
        source: first,
        size: image().len() as u64,
        sha256: hex(&Sha256::digest(image())),
    };
    let inspected = inspect(&dir.path().join("a.iso")).unwrap();
    let committed = store.commit(&fetched, &inspected, Timestamp(1), None).await.unwrap();
    assert!(matches!(committed, Committed::AlreadyThere(_)));
}

#[tokio::test]
async fn a_refused_file_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = (store(dir.path()).await, image());
    let truncated = file(dir.path(), "t.iso", &bytes[..bytes.len() - 4096]);
    let cases = [
        (truncated, "truncated"),
        (file(dir.path(), "h.iso", b"<html>not found</html>"), "not an ISO 9660 image"),
        (
            file(dir.path(), "r.iso", &sample::Sample { rock_ridge: false }.build(&[])),
            "no Rock Ridge",
        ),
        (file(dir.path(), "d.iso", &sample::image(&[("README", b"")])), "no /.cd-info"),
        (Source::Path(dir.path().join("none")), "cannot read"),
        (Source::Path(dir.path().to_owned()), "cannot read"),
    ];
    for (source, reason) in cases {
        let error = import(&store, &source).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.is_transient(), "{error}");
        assert_eq!(names(dir.path()), [""; 0], "{source}");
    }
    let good = file(dir.path(), "good.iso", &bytes);
    let fetched = fetch(&store, &good).await.unwrap();
    let error = store.verify(&fetched, Some(&"0".repeat(64).parse().unwrap())).await.unwrap_err();
    assert!(matches!(error, ImportError::WrongHash { .. }), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
    let fetched = fetch(&store, &good).await.unwrap();
    let expected = fetched.sha256.to_uppercase().parse().unwrap();
    store.verify(&fetched, Some(&expected)).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_copy_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = (store(dir.path()).await, image());
    let source = file(dir.path(), "a.iso", &bytes);
    let cancel = CancellationToken::new();
    let error = store
        .fetch(&source, &cancel, |done, _| {
            if done > 0 {
                cancel.cancel();
            }
        })
        .await
        .unwrap_err();
    assert!(matches!(error, ImportError::Cancelled), "{error}");
    assert_eq!(names(dir.path()).len(), 2, "part and note are kept");

    let mut seen = Vec::new();
    let fetched =
        store.fetch(&source, &CancellationToken::new(), |done, _| seen.push(done)).await.unwrap();
    assert_eq!(seen.first(), Some(&(1 << 20)));
    assert_eq!(fetched.sha256, hex(&Sha256::digest(&bytes)));
    store.discard(&source).await.unwrap();
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_source_that_changed_is_fetched_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut bytes) = (store(dir.path()).await, image());
    let source = file(dir.path(), "a.iso", &bytes);
    fetch(&store, &source).await.unwrap();
    bytes.push(1);
    file(dir.path(), "a.iso", &bytes);
    let fetched = fetch(&store, &source).await.unwrap();
    assert_eq!(fetched.sha256, hex(&Sha256::digest(&bytes)));
}

#[tokio::test]
async fn parts_that_no_job_will_finish_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let done = file(dir.path(), "done.iso", &image());
    import(&store, &done).await.unwrap();
    let [kept, dropped] = ["kept.iso", "dropped.iso"].map(|name| file(dir.path(), name, &image()));
    fetch(&store, &kept).await.unwrap();
    fetch(&store, &dropped).await.unwrap();
    store.discard_all_but(std::slice::from_ref(&kept)).await.unwrap();
    assert_eq!(names(dir.path()).len(), 3, "an image, a part and its note");
    assert_eq!(store.part_of(&kept).len(), image().len() as u64);
    store.discard_all_but(&[]).await.unwrap();
    assert_eq!(names(dir.path()), ["proxmox-ve-9.2-1.iso"]);
}

#[tokio::test]
async fn two_imports_of_one_source_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let source = file(dir.path(), "a.iso", &image());
    let place = store.part_of(&source);
    let held = part::Part::open(place, store.dir.clone(), "a", 0, &CancellationToken::new());
    let error = fetch(&store, &source).await.unwrap_err();
    assert!(matches!(error, ImportError::Busy { .. }), "{error}");
    drop(held);
    // A program that another test starts inherits the lock's descriptor until it execs.
    let mut done = fetch(&store, &source).await;
    for _ in 0..200 {
        if !matches!(done, Err(ImportError::Busy { .. })) {
            break;
        }
        tokio::task::yield_now().await;
        done = fetch(&store, &source).await;
    }
    done.unwrap();
}

#[tokio::test]
async fn too_little_space_is_seen_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ImportLimits { margin: u64::MAX / 2, ..limits() };
    let store = ImageStore::open(dir.path().join("images"), limits).await.unwrap();
    let source = file(dir.path(), "a.iso", &image());
    for error in
        [store.check_source(&source).await.unwrap_err(), fetch(&store, &source).await.unwrap_err()]
    {
        assert!(matches!(error, ImportError::NoSpace { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_view_of_a_big_image_is_prepared_in_an_instant() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let bytes = sample::installer("9.2");
    let size = 1_628 << 20;
    let path = dir.path().join("images/proxmox-ve-9.2-1.iso");
    std::fs::write(&path, bytes).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
    let found = inspect(&path).unwrap();
    let image = Image {
        id: found.id,
        file_name: "proxmox-ve-9.2-1.iso".into(),
        size,
        initrd_size: found.initrd.len,
        sha256: "0".repeat(64),
        release: found.release,
        source: "/x".into(),
        imported_at: Timestamp(0),
        job: None,
    };
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let start = std::time::Instant::now();
        let open = store.open_image(&image).await.unwrap();
        let view = open.view(b"mode = \"http\"\n").unwrap();
        best = best.min(start.elapsed());
        assert_eq!(view.len(), size + 2048);
    }
    // Opening the file and planning from nothing, in a debug build; a view of an open image takes microseconds of it.
    assert!(best < Duration::from_millis(10), "{best:?}");
    assert_eq!(names(dir.path()), ["proxmox-ve-9.2-1.iso"], "no second copy");
}

/// A web server that misbehaves by path, and remembers the ranges that it was asked for.
#[derive(Clone)]
struct Server {
    bytes: Arc<Vec<u8>>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
    base: String,
}

impl Server {
    async fn start(bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { bytes: Arc::new(bytes), asked: Arc::default(), base };
        let app = Router::new().route("/{what}", get(Self::answer)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    fn source(&self, what: &str) -> Source {
        format!("{}/{what}", self.base).parse().unwrap()
    }

    async fn answer(
        State(server): State<Self>,
        UrlPath(what): UrlPath<String>,
        headers: HeaderMap,
    ) -> Response<Body> {
        let text =
            |name| headers.get(name).map(|v: &header::HeaderValue| v.to_str().unwrap().to_owned());
        let (range, condition) = (text(header::RANGE), text(header::IF_RANGE));
        let attempt = {
            let mut asked = server.asked.lock().unwrap();
            asked.push(range.clone());
            asked.len()
        };
        let tag = if what == "changing" { format!("\"v{attempt}\"") } else { "\"v\"".to_owned() };
        let mut start = 0;
        if let Some(range) = range
            && condition.as_ref() == Some(&tag)
        {
            start = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
        }
        let all = &server.bytes;
        let rest = Bytes::copy_from_slice(&all[start..]);
        let mut response = Response::builder().header(header::ETAG, tag);
        if start > 0 {
            let range = format!("bytes {start}-{}/{}", all.len() - 1, all.len());
            response =
                response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
        }
        let hop = |to: &str| Response::builder().status(302).header(header::LOCATION, to);
        match what.as_str() {
            // Two pieces and a bit, then the connection breaks.
            "breaking" | "changing" if start == 0 && attempt <= 2 => {
                let some = rest.slice(..(2 << 20) + 77);
                let frames = [Ok(some), Err(io::Error::other("broken"))];
                let body = Body::from_stream(futures_util::stream::iter(frames));
                response.header(header::CONTENT_LENGTH, rest.len()).body(body).unwrap()
            }
            // Less than the file, but with a length that fits.
            "short" => response.body(Body::from(rest.slice(..rest.len() - 5000))).unwrap(),
            "chunked" => {
                let body =
                    Body::from_stream(futures_util::stream::iter([Ok::<_, io::Error>(rest)]));
                response.body(body).unwrap()
            }
            "once" => hop("/plain").body(Body::empty()).unwrap(),
            "loop" => hop("loop").body(Body::empty()).unwrap(),
            "away" => hop("ftp://192.0.2.1/x").body(Body::empty()).unwrap(),
            "gone" => Response::builder().status(404).body(Body::empty()).unwrap(),
            "busy" => Response::builder().status(503).body(Body::empty()).unwrap(),
            "zipped" => {
                response.header(header::CONTENT_ENCODING, "gzip").body(Body::from(rest)).unwrap()
            }
            _ => response.body(Body::from(rest)).unwrap(),
        }
    }
}

#[tokio::test]
async fn a_download_is_imported_with_and_without_a_known_length() {
    let server = Server::start(image()).await;
    for what in ["plain", "chunked", "once"] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path()).await;
        let Committed::New(image) = import(&store, &server.source(what)).await.unwrap() else {
            panic!("new")
        };
        assert!(std::fs::read(store.path(&image)).unwrap() == *server.bytes, "{what}");
        assert_eq!(image.source, server.source(what).to_string());
        assert_eq!(names(dir.path()), ["proxmox-ve-9.2-1.iso"]);
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = Server::start(image()).await;
    let dir = tempfile::tempdir().unwrap();
    let source = server.source("breaking");
    let error = fetch(&store(dir.path()).await, &source).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // A store that is opened anew stands for a restart of the program.
    let store = store(dir.path()).await;
    let mut seen = Vec::new();
    let fetched = store
        .fetch(&source, &CancellationToken::new(), |done, total| seen.push((done, total)))
        .await
        .unwrap();
    assert_eq!(fetched.sha256, hex(&Sha256::digest(&*server.bytes)));
    let asked = server.asked.lock().unwrap().clone();
    let [None, Some(range)] = &asked[..] else { panic!("{asked:?}") };
    let start: u64 = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(start > 1 << 20, "most of what had come is used: {range}");
    assert_eq!(seen.first(), Some(&(start, Some(fetched.size))));
    store.verify(&fetched, None).await.unwrap();
}

#[tokio::test]
async fn a_file_that_changed_on_the_server_is_not_mixed_with_the_old_one() {
    let server = Server::start(image()).await;
    let dir = tempfile::tempdir().unwrap();
    let (store, source) = (store(dir.path()).await, server.source("changing"));
    assert!(fetch(&store, &source).await.unwrap_err().is_transient());
    assert!(fetch(&store, &source).await.unwrap_err().is_transient());
    let fetched = fetch(&store, &source).await.unwrap();
    assert_eq!(fetched.sha256, hex(&Sha256::digest(&*server.bytes)));
    assert!(server.asked.lock().unwrap()[2].is_some(), "a range was asked for, with a condition");
}

#[tokio::test]
async fn a_truncated_body_is_found_out() {
    let server = Server::start(image()).await;
    let dir = tempfile::tempdir().unwrap();
    let error = import(&store(dir.path()).await, &server.source("short")).await.unwrap_err();
    assert!(error.to_string().contains("truncated"), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn answers_that_are_not_the_file_are_refused_in_plain_words() {
    let server = Server::start(image()).await;
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let expected = HashMap::from([
        ("loop", ("more than 5 redirects", false)),
        ("away", ("neither http nor https", false)),
        ("gone", ("status 404", false)),
        ("busy", ("status 503", true)),
        ("zipped", ("compressed", false)),
    ]);
    for (what, (reason, transient)) in expected {
        let error = fetch(&store, &server.source(what)).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{what}: {error}");
        assert_eq!(error.is_transient(), transient, "{what}");
    }
    let nobody: Source = "http://127.0.0.1:1/x.iso".parse().unwrap();
    let error = store.check_source(&nobody).await.unwrap_err();
    assert!(error.to_string().contains("no connection could be made"), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_name_is_resolved_without_libc() {
    let server = Server::start(image()).await;
    let port = server.base.rsplit_once(':').unwrap().1.to_owned();
    let source: Source = format!("http://localhost:{port}/plain").parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    fetch(&store(dir.path()).await, &source).await.unwrap();
}

/// Runs one test of this file again, in a child that `command` starts with the arguments it is given here.
fn run_again(mut command: std::process::Command, name: &str, why: &str) {
    let output = command
        .args(["--exact", &format!("image::test::{name}"), "--nocapture"])
        .output()
        .unwrap_or_else(|e| panic!("{why}: {e}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{why}:\n{text}");
}

/// Serves the image over TLS with `certificate`, for one connection after the other.
async fn serve_tls(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let app = Router::new().route("/x", get(async || image()));
        while let Ok((socket, _)) = listener.accept().await {
            // A client that does not trust us ends the handshake.
            let Ok(stream) = acceptor.accept(socket).await else { continue };
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    });
    format!("https://localhost:{port}/x")
}

/// Runs again in a child, whose CA store holds only the certificate of its own server.
#[test]
fn https_is_fetched_from_servers_that_the_machine_trusts_and_from_no_other() {
    let dir = match std::env::var_os("IRONHATCH_TEST_CA") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let dir = tempfile::tempdir().unwrap();
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.env("IRONHATCH_TEST_CA", dir.path());
            command.env("SSL_CERT_FILE", dir.path().join("ca.pem")).env_remove("SSL_CERT_DIR");
            let name = "https_is_fetched_from_servers_that_the_machine_trusts_and_from_no_other";
            run_again(command, name, "the run with its own CA store failed");
            return;
        }
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let [known, unknown] =
            [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        std::fs::write(dir.join("ca.pem"), known.cert.pem()).unwrap();
        let store = store(&dir).await;
        let good: Source = serve_tls(&known).await.parse().unwrap();
        assert!(matches!(import(&store, &good).await.unwrap(), Committed::New(_)));
        let bad: Source = serve_tls(&unknown).await.parse().unwrap();
        let error = fetch(&store, &bad).await.unwrap_err();
        assert!(error.to_string().contains("no connection could be made"), "{error}");
    });
}

/// Runs this test again in a mount namespace of its own, where a tmpfs of 3 MiB is the whole disk.
#[test]
fn a_full_disk_is_a_clear_error_and_works_again_when_there_is_room() {
    const INSIDE: &str = "IRONHATCH_TEST_SMALL_DISK";
    if std::env::var_os(INSIDE).is_none() {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=3m none \"$1\" && shift && exec \"$@\"";
        let mut command = std::process::Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(dir.path()).arg(std::env::current_exe().unwrap()).env(INSIDE, dir.path());
        let name = "a_full_disk_is_a_clear_error_and_works_again_when_there_is_room";
        let why =
            "the run on a small disk needs root or unprivileged user namespaces, and unshare(1)";
        run_again(command, name, why);
        return;
    }
    let dir = PathBuf::from(std::env::var_os(INSIDE).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::start(image()).await;
        let blocker = dir.join("blocker");
        std::fs::write(&blocker, vec![1; 1 << 20]).unwrap();
        let limits = ImportLimits { margin: 0, ..ImportLimits::default() };
        let store = ImageStore::open(dir.join("images"), limits).await.unwrap();
        let error = fetch(&store, &server.source("chunked")).await.unwrap_err();
        assert!(matches!(error, ImportError::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("is full"), "{error}");
        assert_eq!(names(&dir), [""; 0]);
        let error = fetch(&store, &server.source("plain")).await.unwrap_err();
        assert!(matches!(error, ImportError::NoSpace { .. }), "{error}");
        std::fs::remove_file(blocker).unwrap();
        import(&store, &server.source("chunked")).await.unwrap();
    });
}
