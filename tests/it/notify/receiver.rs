//! A receiver over HTTP that writes down each request as it came, and answers as it is told.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::heard::Heard;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: String,
    pub(crate) key: String,
    pub(crate) body: Value,
}

/// What a request gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Status(u16),
    /// To itself.
    Redirect,
    /// 200 and a body that does not end.
    Endless,
    /// The connection is closed without a word.
    Hangup,
}

pub(crate) struct Receiver {
    address: &'static str,
    told: Arc<Mutex<Vec<Told>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    closed: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) fn listen(address: &'static str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let receiver =
            Self { address, told: Arc::default(), answers: Arc::default(), closed: Arc::default() };
        let (told, answers) = (Arc::clone(&receiver.told), Arc::clone(&receiver.answers));
        let closed = Arc::clone(&receiver.closed);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream.unwrap(), address, &told, &answers);
            }
        });
        receiver
    }

    /// The answers to the next requests; those after them get 204.
    pub(crate) fn answer(&self, answers: Vec<Answer>) {
        *self.answers.lock().unwrap() = answers.into();
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    /// Nobody listens any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread, which then lets go of the port.
        drop(TcpStream::connect(self.address).unwrap());
        while TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn serve(
    mut stream: TcpStream,
    address: &str,
    told: &Mutex<Vec<Told>>,
    answers: &Mutex<VecDeque<Answer>>,
) {
    let heard = Heard::read(&stream);
    told.lock().unwrap().push(Told {
        authorization: heard.header("authorization"),
        content_type: heard.header("content-type").unwrap(),
        key: heard.header("idempotency-key").unwrap(),
        body: serde_json::from_slice(&heard.body).unwrap(),
        method: heard.method,
        path: heard.path,
    });
    let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204));
    let head = match answer {
        Answer::Status(204) => "204 No Content\r\n".to_owned(),
        Answer::Status(status) => format!("{status} As asked\r\ncontent-length: 0\r\n"),
        Answer::Redirect => {
            format!("302 Found\r\nlocation: http://{address}/again\r\ncontent-length: 0\r\n")
        }
        Answer::Endless => "200 OK\r\n".to_owned(),
        Answer::Hangup => return,
    };
    let _ = write!(stream, "HTTP/1.1 {head}connection: close\r\n\r\n");
    if matches!(answer, Answer::Endless) {
        // Until the other side has had enough.
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    }
}
