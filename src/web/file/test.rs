#![allow(clippy::cast_possible_truncation)] // samples are small

use std::io::Write;
use std::sync::Mutex;

use axum::Router;
use axum::routing::any;
use futures_util::FutureExt as _;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fakes::firmware::http::{self, Answer, Request};
use crate::proto::iso9660::{Iso, ViewLayout, sample};

fn view_body() -> (FileBody, Vec<u8>) {
    let image = sample::installer("9.2");
    let view = ViewLayout::plan(&Iso::open(&image[..]).unwrap()).unwrap().view(b"mode").unwrap();
    let mut whole = Vec::new();
    for segment in view.segments(0..view.len()) {
        match segment {
            Segment::Bytes(bytes) => whole.extend_from_slice(bytes),
            Segment::Original { offset, len } => {
                whole.extend_from_slice(&image[offset as usize..(offset + len) as usize]);
            }
        }
    }
    let content = FileContent::View { file: file_of(&image), view: Arc::new(view) };
    (body_of(content), whole)
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn body_of(content: FileContent) -> FileBody {
    FileBody {
        content,
        content_type: content_type("x.iso"),
        tag: "0f-1".into(),
        modified: Timestamp(1_795_200_780_000),
    }
}

fn with_range(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(text).unwrap())])
}

async fn bytes_of(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// Collects what the hook was told.
fn recorder() -> (OnEnd, Arc<Mutex<Vec<Transfer>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    (Box::new(move |transfer| sink.lock().unwrap().push(transfer)), seen)
}

#[tokio::test]
async fn a_whole_view_is_sent_with_its_exact_length() {
    let (body, whole) = view_body();
    let (on_end, seen) = recorder();
    let response = respond(body, &Method::GET, &HeaderMap::new(), Way::Body, Some(on_end));
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers[header::CONTENT_LENGTH], whole.len().to_string());
    assert_eq!(headers[header::CONTENT_TYPE], "application/vnd.efi-iso");
    assert_eq!(headers[header::ACCEPT_RANGES], "bytes");
    assert_eq!(headers[header::ETAG], "\"0f-1\"");
    assert_eq!(headers[header::LAST_MODIFIED], "Fri, 20 Nov 2026 18:53:00 GMT");
    assert!(headers.values().all(|value| !value.is_empty()));
    assert!(bytes_of(response).await == whole);
    let [transfer] = seen.lock().unwrap()[..] else { panic!("told once") };
    assert!(transfer.is_complete() && transfer.reached_the_end());
    assert_eq!(transfer.sent, whole.len() as u64);
}

#[tokio::test]
async fn every_kind_of_content_answers_ranges_alike() {
    let (view, whole) = view_body();
    let padded = [b"before".as_slice(), &whole, b"after"].concat();
    let extent = Extent { offset: 6, len: whole.len() as u64 };
    let kinds = [
        view,
        body_of(FileContent::Bytes(Bytes::from(whole.clone()))),
        body_of(FileContent::Extent { file: file_of(&padded), extent }),
    ];
    let len = whole.len();
    for body in kinds {
        for (first, last) in [(0, 0), (5, 40_000), (32_768, 34_000), (len - 3000, len - 1)] {
            let request = with_range(&format!("bytes={first}-{last}"));
            let response = respond(body.clone(), &Method::GET, &request, Way::Body, None);
            assert_eq!(response.status(), 206);
            let range = format!("bytes {first}-{last}/{len}");
            assert_eq!(response.headers()[header::CONTENT_RANGE], range);
            let length = (last - first + 1).to_string();
            assert_eq!(response.headers()[header::CONTENT_LENGTH], length);
            assert!(bytes_of(response).await == whole[first..=last], "{first}-{last}");
        }
        let response = respond(
            body.clone(),
            &Method::GET,
            &with_range(&format!("bytes={len}-")),
            Way::Body,
            None,
        );
        assert_eq!(response.status(), 416);
        assert_eq!(response.headers()[header::CONTENT_RANGE], format!("bytes */{len}"));
        let response = respond(body, &Method::GET, &with_range("bytes=0-1,4-5"), Way::Body, None);
        assert_eq!(response.status(), 200);
        assert!(bytes_of(response).await == whole);
    }
}

#[tokio::test]
async fn content_longer_than_one_piece_arrives_in_order() {
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    let extent = Extent { offset: 0, len: bytes.len() as u64 };
    let body = body_of(FileContent::Extent { file: file_of(&bytes), extent });
    assert!(
        bytes_of(respond(body, &Method::GET, &HeaderMap::new(), Way::Body, None)).await == bytes
    );
}

#[test]
fn head_has_the_headers_of_get_and_no_transfer() {
    let (body, _) = view_body();
    let (on_end, seen) = recorder();
    for request in [HeaderMap::new(), with_range("bytes=5-9")] {
        let get = respond(body.clone(), &Method::GET, &request, Way::Body, None);
        let head = respond(body.clone(), &Method::HEAD, &request, Way::Body, None);
        assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
    }
    drop(respond(body.clone(), &Method::HEAD, &HeaderMap::new(), Way::Body, Some(on_end)));
    assert!(seen.lock().unwrap().is_empty());
    let response = respond(body, &Method::POST, &HeaderMap::new(), Way::Body, None);
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
}

#[tokio::test]
async fn a_file_that_shrank_breaks_the_body() {
    let extent = Extent { offset: 0, len: 5000 };
    let (on_end, seen) = recorder();
    let body = body_of(FileContent::Extent { file: file_of(b"short"), extent });
    let response = respond(body, &Method::GET, &HeaderMap::new(), Way::Body, Some(on_end));
    assert!(response.into_body().collect().await.is_err());
    let [transfer] = seen.lock().unwrap()[..] else { panic!("told once") };
    assert!(!transfer.is_complete());
    assert_eq!(transfer.sent, 0);
}

/// Serves `body` on loopback until the token is cancelled.
async fn serve(
    body: FileBody,
    stall: Option<Duration>,
) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let stop = token.clone();
    let app = Router::new().route(
        "/x",
        any(move |method: Method, headers: HeaderMap| async move {
            respond(body, &method, &headers, Way::Body, None)
        }),
    );
    tokio::spawn(async move {
        loop {
            let (socket, _) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted.unwrap(),
            };
            if let Some(stall) = stall {
                limit_stall(&socket, stall).unwrap();
            }
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            let io = hyper_util::rt::TokioIo::new(socket);
            let connection = hyper::server::conn::http1::Builder::new()
                .max_buf_size(CONNECTION_BUFFER)
                .serve_connection(io, service);
            tokio::spawn(async move {
                let _ = connection.await;
            });
        }
    });
    (address, token)
}

async fn exchange(address: std::net::SocketAddr, request: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_wire_carries_lengths_and_never_chunks() {
    let (body, whole) = view_body();
    let (address, stop) = serve(body, None).await;
    let length = format!("content-length: {}\r\n", whole.len());

    let get = exchange(address, "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let end = get.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&get[..end + 2]).to_ascii_lowercase();
    assert!(head.contains(&length) && !head.contains("transfer-encoding"), "{head}");
    assert!(get[end + 4..] == whole);

    // Both answers come over one connection: HEAD does not close it.
    let both = exchange(
        address,
        "HEAD /x HTTP/1.1\r\nhost: a\r\n\r\nGET /x HTTP/1.1\r\nhost: a\r\nrange: bytes=0-3\r\nconnection: close\r\n\r\n",
    )
    .await;
    let text = String::from_utf8_lossy(&both).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200 ok\r\n") && text.contains(&length), "{text}");
    assert!(text.contains("http/1.1 206 partial content\r\n"), "{text}");
    stop.cancel();
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_connection_and_its_memory() {
    let (on_end, mut ended) = {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (move |transfer| _ = sender.send(transfer), receiver)
    };
    let bytes = file_of(&vec![7; 32 << 20]);
    let extent = Extent { offset: 0, len: 32 << 20 };
    let body = body_of(FileContent::Extent { file: bytes, extent });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    limit_stall(&socket, Duration::from_millis(300)).unwrap();
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (body, on_end) = (body.clone(), on_end.clone());
            async move {
                let hook: OnEnd = Box::new(on_end);
                Ok::<_, std::convert::Infallible>(respond(
                    body,
                    request.method(),
                    request.headers(),
                    Way::Body,
                    Some(hook),
                ))
            }
        });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(CONNECTION_BUFFER)
        .serve_connection(hyper_util::rt::TokioIo::new(socket), service);
    client.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // The client reads nothing more. Without the limit this would wait for ever.
    let outcome = tokio::time::timeout(Duration::from_secs(30), connection).await;
    assert!(outcome.expect("the kernel ends it").is_err());
    let transfer = ended.recv().await.unwrap();
    assert!(!transfer.is_complete() && transfer.sent < 32 << 20, "{transfer:?}");
}

/// Headers of firmware that asks for parts, resumes or has a copy, and of others.
fn asked() -> impl Strategy<Value = Vec<(String, String)>> {
    let tag = prop::sample::select(vec!["\"0f-1\"", "\"other\"", "W/\"0f-1\"", "*", "", "x"]);
    let date = prop::sample::select(vec![
        "Fri, 20 Nov 2026 18:53:00 GMT",
        "Thu, 19 Nov 2026 18:53:00 GMT",
        "Sat, 21 Nov 2026 18:53:00 GMT",
        "yesterday",
    ]);
    let range = prop_oneof![
        4 => (0u64..6000, 0u64..6000).prop_map(|(a, b)| format!("bytes={a}-{b}")),
        1 => (0u64..6000).prop_map(|a| format!("bytes={a}-")),
        1 => (0u64..6000).prop_map(|a| format!("bytes=-{a}")),
        1 => "[a-z]{0,5}=[0-9, -]{0,12}",
    ];
    let header = prop_oneof![
        3 => range.prop_map(|v| ("range".to_owned(), v)),
        1 => tag.clone().prop_map(|v| ("if-range".to_owned(), v.to_owned())),
        1 => date.clone().prop_map(|v| ("if-range".to_owned(), v.to_owned())),
        1 => tag.clone().prop_map(|v| ("if-match".to_owned(), v.to_owned())),
        1 => tag.prop_map(|v| ("if-none-match".to_owned(), v.to_owned())),
        1 => date.clone().prop_map(|v| ("if-modified-since".to_owned(), v.to_owned())),
        1 => date.prop_map(|v| ("if-unmodified-since".to_owned(), v.to_owned())),
    ];
    prop::collection::vec(header, 0..4)
}

fn seen(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let body = body.collect().now_or_never().expect("in memory").unwrap().to_bytes().to_vec();
    Answer { status: parts.status.as_u16(), headers: headers.collect(), body }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn firmware_takes_every_answer_for_a_file(
        headers in asked(),
        name in prop::sample::select(vec!["snponly.efi", "proxmox.iso", "disk.img", "undionly.kpxe"]),
        len in prop::sample::select(vec![0usize, 1, 5000]),
    ) {
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let content = FileContent::Bytes(Bytes::from(bytes.clone()));
        let body = FileBody { content_type: content_type(name), ..body_of(content) };
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let path = format!("/boot/ipxe/{name}");
        let ask = |head| Request { head, path: &path, headers: &headers };
        let get = seen(respond(body.clone(), &Method::GET, &map, Way::Body, None));
        let head = seen(respond(body, &Method::HEAD, &map, Way::Body, None));
        prop_assert_eq!(http::take_file(&ask(false), &get, &bytes), Ok(()));
        prop_assert_eq!(http::take_file(&ask(true), &head, &bytes), Ok(()));
        prop_assert_eq!(http::same_head(&get, &head), Ok(()));
    }
}
