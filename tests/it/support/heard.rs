//! A request as a receiver of ours reads it: one on each connection.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;

pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    head: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let mut words = head[0].split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut heard = Self { method, path, head, body: Vec::new() };
        heard.body = vec![0; heard.header("content-length").unwrap().parse().unwrap()];
        reader.read_exact(&mut heard.body).unwrap();
        heard
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.iter().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }
}
