//! Both ways of a request side by side: the connection that sends files itself, and hyper. Same router, same files.

use std::fs::File;
use std::io::Write as _;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::Via;
use super::*;
use crate::proto::iso9660::{Extent, Iso, ViewLayout, sample};
use crate::web::file::{FileBody, FileContent, Transfer, respond};

/// Ends a connection, and proves that hyper got it.
const END: &str = "GET /end HTTP/1.1\r\nconnection: close\r\n\r\n";

type Told = Arc<Mutex<Vec<(String, Transfer)>>>;

/// The files by name.
static FILES: LazyLock<[(&str, FileContent); 5]> = LazyLock::new(|| {
    let long: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = sample::installer("9.2");
    let layout = ViewLayout::plan(&Iso::open(&image[..]).unwrap()).unwrap();
    let view = Arc::new(layout.view(b"mode").unwrap());
    let extent = |bytes: &[u8], offset, len| FileContent::Extent {
        file: file_of(bytes),
        extent: Extent { offset, len },
    };
    [
        ("view.iso", FileContent::View { file: file_of(&image), view }),
        ("small", FileContent::Bytes(Bytes::from_static(b"0123456789"))),
        ("long", extent(&long, 5, 12_000_000 - 5)),
        ("shrunk", extent(&long[..2_500_000], 0, 12_000_000)),
        ("empty", extent(b"", 0, 0)),
    ]
});

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

/// Files, a script and refusals as the machines' routes have them; `told` hears how transfers end.
fn router(told: Told) -> Router {
    let file =
        async move |Path(name): Path<String>, way: Way, method: Method, headers: HeaderMap| {
            let Some((_, content)) = FILES.iter().find(|(known, _)| *known == name) else {
                return (StatusCode::FORBIDDEN, "ironhatch: no\n").into_response();
            };
            let body = FileBody {
                content: content.clone(),
                content_type: file::content_type(&name),
                tag: format!("tag-{name}"),
                modified: Timestamp(1_795_200_780_000),
            };
            let hook = move |transfer| told.lock().unwrap().push((name, transfer));
            respond(body, &method, &headers, way, Some(Box::new(hook)))
        };
    let script = async |Path(mac): Path<String>, uri: axum::http::Uri, headers: HeaderMap| {
        let fields = headers.iter().map(|(name, value)| format!("{name}={value:?}\n"));
        let text = format!("#!ipxe {mac} {uri}\n{}", fields.collect::<String>());
        ([("content-type", "text/plain")], text).into_response()
    };
    let panics = async || -> Response { panic!("a defect") };
    Router::new()
        .route("/boot/{name}", get(file))
        .route("/boot/panics", get(panics))
        .route("/ipxe/{mac}", get(script))
        .route("/end", get(async || "end"))
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
}

fn traffic() -> Traffic {
    Traffic::new(crate::limits::over::Overruns::new(Arc::new(|| 0)))
}

/// Which way a server takes.
#[derive(Debug, Clone, Copy)]
enum Server {
    /// The connection's own, then hyper.
    Front,
    /// hyper from the first byte.
    Hyper,
}

/// Serves one connection; returns what the client got when it had sent `bytes`.
async fn exchange(server: Server, bytes: &[u8], told: &Told) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let router = router(Arc::clone(told));
    let serve = async move {
        let socket = match server {
            Server::Front => {
                let (sender, stop) = (Sender::new(), CancellationToken::new());
                let front =
                    Front { router: router.clone(), peer, sender, traffic: traffic(), stop };
                front.run(socket).await
            }
            Server::Hyper => Some(Rewound::new(Bytes::new(), socket)),
        };
        if let Some(socket) = socket {
            let _ = super::super::connection(socket, router, Via::Plain(peer)).await;
        }
    };
    let ask = async {
        client.write_all(bytes).await.unwrap();
        let mut got = Vec::new();
        // How it ends after the answer does not matter: a broken file ends with a reset.
        let _ = client.read_to_end(&mut got).await;
        got
    };
    let both = async { tokio::join!(serve, ask).1 };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("both sides end")
}

/// An answer stream with its heads sorted and without dates: the order of fields means nothing.
fn normal(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let Some((status, fields)) = head.split_once("\r\n") else { break };
        let mut fields: Vec<&str> =
            fields.split("\r\n").filter(|f| !f.starts_with("date: ")).collect();
        assert!(head.contains("\r\ndate: "), "{head}");
        fields.sort_unstable();
        out.extend_from_slice(format!("{status}\r\n{}\r\n\r\n", fields.join("\r\n")).as_bytes());
        let len = fields.iter().find_map(|f| f.strip_prefix("content-length: "));
        let len: usize = len.map_or(0, |l| l.parse().unwrap());
        // The answer to HEAD tells a length and has no body: what follows is then the next head.
        let is_head = rest.starts_with(b"HTTP/1.1 ");
        let body = if is_head { 0 } else { len.min(rest.len()) };
        out.extend_from_slice(&rest[..body]);
        rest = &rest[body..];
    }
    out.extend_from_slice(rest);
    out
}

/// Asks both and compares; returns the answers.
async fn same(requests: &str) -> Vec<u8> {
    let told = [Told::default(), Told::default()];
    let front = exchange(Server::Front, requests.as_bytes(), &told[0]).await;
    let hyper = exchange(Server::Hyper, requests.as_bytes(), &told[1]).await;
    let (front, hyper) = (normal(&front), normal(&hyper));
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(900)]).into_owned();
    assert!(front == hyper, "{requests:?}\n{}\n---\n{}", shown(&front), shown(&hyper));
    let [front_told, hyper_told] = told.map(|t| t.lock().unwrap().clone());
    assert_eq!(front_told, hyper_told, "{requests:?}");
    front
}

#[tokio::test]
async fn every_request_is_answered_alike_by_both_ways() {
    let files = ["view.iso", "small", "long", "empty", "unknown", "panics", ""];
    let fields = [
        "",
        "range: bytes=0-0\r\n",
        "range: bytes=32000-40000\r\n",
        "range: bytes=-7\r\n",
        "range: bytes=5-\r\n",
        "range: bytes=999999999-\r\n",
        "range: bytes=0-1,3-4\r\n",
        "if-none-match: \"tag-small\", \"tag-view.iso\"\r\n",
        "if-match: \"other\"\r\n",
        "if-range: \"tag-long\"\r\nrange: bytes=2000000-2500000\r\n",
        "if-range: \"other\"\r\nrange: bytes=1-2\r\n",
        "if-modified-since: Fri, 20 Nov 2026 18:53:00 GMT\r\n",
        "host: a\r\nuser-agent: x\r\naccept: */*\r\nconnection: keep-alive\r\n",
        "content-length: 0\r\n",
        "x: \u{e9}\u{1f600}\r\n",
    ];
    for file in files {
        for field in fields {
            for method in ["GET", "HEAD"] {
                same(&format!("{method} /boot/{file} HTTP/1.1\r\n{field}\r\n{END}")).await;
            }
        }
    }
}

#[tokio::test]
async fn connections_go_on_alike() {
    let one = "GET /boot/small HTTP/1.1\r\n\r\n";
    let script = "GET //ipxe///52-54?a=//b HTTP/1.1\r\nhost: x\r\n\r\n";
    let got = same(&format!("{script}{one}{script}{one}{END}")).await;
    let text = String::from_utf8(got).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 5, "{text}");
    assert!(text.contains("#!ipxe 52-54 /ipxe/52-54?a=//b\nhost=\"x\""), "{text}");
    assert!(text.ends_with("end"), "{text}");
    // What the client calls the last request is the last one.
    for last in ["GET /boot/long", "HEAD /boot/small", "GET /ipxe/1", "GET /boot/unknown"] {
        let got = same(&format!("{one}{last} HTTP/1.1\r\nconnection: close\r\n\r\n{one}")).await;
        let text = String::from_utf8_lossy(&got);
        assert_eq!(text.matches("connection: close").count(), 1);
    }
    // HTTP/1.0 and requests with a body are hyper's, also behind others.
    same(&format!("{one}GET /boot/small HTTP/1.0\r\n\r\n")).await;
    same(&format!("{one}POST /boot/small HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc{END}")).await;
    same(&format!("{one}GET /boot/small HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc{END}")).await;
    same(&format!("{one}nonsense\r\n\r\n{END}")).await;
}

#[tokio::test]
async fn a_file_that_shrank_breaks_the_connection_and_the_end_is_told() {
    let told = Told::default();
    let ask = format!("GET /boot/shrunk HTTP/1.1\r\n\r\n{END}");
    let got = exchange(Server::Front, ask.as_bytes(), &told).await;
    assert!(got.len() < 2_600_000 && !got.ends_with(b"end"), "{}", got.len());
    let told = told.lock().unwrap();
    let [(_, transfer)] = &told[..] else { panic!("{told:?}") };
    assert!(!transfer.is_complete());
    assert_eq!(transfer.sent, 2_500_000);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_transfer() {
    let told = Told::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let (sender, stop) = (Sender::new(), CancellationToken::new());
    let front = Front { router: router(Arc::clone(&told)), peer, sender, traffic: traffic(), stop };
    let serving = tokio::spawn(front.run(socket));
    client.write_all(b"GET /boot/long HTTP/1.1\r\n\r\n").await.unwrap();
    client.read_exact(&mut [0; 1000]).await.unwrap();
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(60), serving).await;
    assert!(ended.expect("it is noticed").unwrap().is_none());
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
}

#[tokio::test]
async fn a_stop_ends_what_waits_and_lets_a_transfer_finish() {
    let told = Told::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sender, stop) = (Sender::new(), CancellationToken::new());
    let start = async |first: &[u8]| {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(first).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let (sender, stop) = (sender.clone(), stop.clone());
        let front =
            Front { router: router(Arc::clone(&told)), peer, sender, traffic: traffic(), stop };
        (client, tokio::spawn(front.run(socket)))
    };
    let (mut half, half_served) = start(b"GET /boot/lo").await;
    let (mut busy, busy_served) = start(b"GET /boot/long HTTP/1.1\r\n\r\n").await;
    // The transfer has begun, and cannot end before it is read.
    busy.read_exact(&mut [0; 10]).await.unwrap();
    stop.cancel();
    let mut got = Vec::new();
    half.read_to_end(&mut got).await.unwrap();
    assert!(got.is_empty() && half_served.await.unwrap().is_none());
    busy.read_to_end(&mut got).await.unwrap();
    assert!(got.len() > 12_000_000 - 5 && busy_served.await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    for first in ["", "GET /bo", "GET /boot/small HTTP/1.1\r\nx: y\r\n"] {
        let got = exchange(Server::Front, first.as_bytes(), &Told::default()).await;
        assert!(got.is_empty(), "{first}");
    }
}

/// Heads that are near to those of machines, and some that are far from them.
fn heads() -> impl Strategy<Value = String> {
    let method =
        prop_oneof![6 => Just("GET"), 3 => Just("HEAD"), 1 => Just("POST"), 1 => Just("G\tT")];
    let path = prop_oneof![
        6 => "//?/?(boot|ipxe)/(small|view\\.iso|empty|x)(\\?[a-z=/&%]{0,6})?",
        2 => "/boot/[ -~]{0,12}",
        1 => "/[!-~]{0,12}",
        1 => "(http://a)?/boot/small#?",
    ];
    let version = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/1.9")];
    let field = prop_oneof![
        4 => "(R|r)ange: ?bytes=[0-9]{0,3}-[0-9]{0,5}",
        2 => "If-(Match|Range|None-Match): (\"tag-small\"|\\*|W/\"tag-small\"|\"x\")",
        2 => "[Cc]onnection: (keep-alive|close|Close|upgrade|close, x|\\t keep-alive )",
        1 => "(Content-Length|Transfer-Encoding|Expect|Upgrade|TE): (0|5|chunked|100-continue|x)",
        2 => "[a-zA-Z-]{1,8}:[ -~]{0,12}",
        1 => "[ -~]{0,12}",
        1 => "[a-z]{1,3}: \\PC{0,4}",
    ];
    let fields =
        prop::collection::vec((field, prop_oneof![9 => Just("\r\n"), 1 => Just("\n")]), 0..5);
    (method, path, version, fields).prop_map(|(method, path, version, fields)| {
        let fields: String = fields.into_iter().flat_map(|(f, end)| [f, end.to_owned()]).collect();
        format!("{method} {path} {version}\r\n{fields}\r\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is taken is answered as hyper answers it; what is not taken reaches hyper as it came.
    #[test]
    fn hostile_heads_are_answered_alike_or_handed_over(head in heads()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match head::look(head.as_bytes()) {
            Look::Ours(ours) => {
                // An empty line among the fields ends a head before its time.
                let head = &head[..ours.len];
                runtime.block_on(same(&format!("{head}{END}")));
            }
            Look::Other | Look::More => {
                let passed = runtime.block_on(handed_over(head.as_bytes()));
                prop_assert_eq!(passed.as_deref(), Some(head.as_bytes()));
            }
        }
    }

    #[test]
    fn no_bytes_whatever_make_a_look_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = head::look(&bytes);
        let _ = head::look(&[b"GET /boot/".as_slice(), &bytes, b"\r\n\r\n"].concat());
    }
}

/// What hyper is given of these bytes.
async fn handed_over(bytes: &[u8]) -> Option<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    client.write_all(bytes).await.unwrap();
    drop(client);
    let (sender, stop) = (Sender::new(), CancellationToken::new());
    let front = Front { router: router(Told::default()), peer, sender, traffic: traffic(), stop };
    let mut rest = front.run(socket).await?;
    let mut got = Vec::new();
    rest.read_to_end(&mut got).await.unwrap();
    Some(got)
}
