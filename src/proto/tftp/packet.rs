//! Datagrams of TFTP: requests and acknowledgements come in, data goes out.

use bytes::Bytes;

/// What a client may send us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Read request.
    Read(Request<'a>),
    /// Write request; always refused.
    Write,
    /// Acknowledgement of everything up to this block.
    Ack(u16),
    /// The client ends the transfer. Firmware does so after asking for the size only.
    Error {
        /// The code as sent.
        code: u16,
        /// The text as sent, not yet cleaned.
        text: &'a [u8],
    },
}

/// A read request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file name as sent; see [`super::name::clean`].
    pub name: &'a [u8],
    /// How the client wants the bytes.
    pub mode: Mode,
    /// The options that were asked for.
    pub options: Options,
}

/// Transfer modes (RFC 1350 section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `octet`, and `netascii` too: boot programs are binary, so a client that says `netascii` out of habit gets the
    /// bytes as they are instead of a converted file that cannot run.
    Binary,
    /// `mail` or something unknown.
    Unsupported,
}

/// Options of a request that have a usable value; the others are as if they had not been sent (RFC 2347).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Bytes per block, at least 8 (RFC 2348).
    pub block_size: Option<u16>,
    /// Whether the client wants to know the file's size (RFC 2349).
    pub size: bool,
    /// Seconds before a retransmission, 1 to 255 (RFC 2349).
    pub timeout: Option<u8>,
    /// Blocks per acknowledgement, at least 1 (RFC 7440).
    pub window: Option<u16>,
}

/// Why a datagram was dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than an opcode and its fixed part.
    #[error("the datagram is too short")]
    TooShort,
    /// DATA, OACK or an unknown opcode: nothing that a reading client sends.
    #[error("opcode {0} is nothing that a client sends to a server")]
    Opcode(u16),
    /// A request without a file name and a mode.
    #[error("the request has no file name or no mode")]
    NoName,
}

/// Error codes that we send (RFC 1350 appendix).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// See the text.
    Other,
    /// File not found.
    NotFound,
    /// Illegal operation.
    IllegalOperation,
}

impl ErrorCode {
    fn number(self) -> u16 {
        match self {
            Self::Other => 0,
            Self::NotFound => 1,
            Self::IllegalOperation => 4,
        }
    }
}

/// What goes out, in two parts so that file content is never copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// One block of the file.
    Data {
        /// Opcode and block number.
        head: [u8; 4],
        /// Its bytes; shorter than the block size in the last block.
        body: Bytes,
    },
    /// Option acknowledgement or error, encoded.
    Control(Vec<u8>),
}

/// Requests longer than this are not looked at beyond it: firmware sends at most about 250 bytes.
const LONGEST_REQUEST: usize = 1024;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

impl<'a> Packet<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`Malformed`] when there is nothing to react to. Unknown or unusable options are skipped, a request whose last
    /// string lacks its NUL is taken as it is: some ROMs send such requests.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (opcode, rest) = take_u16(datagram).ok_or(Malformed::TooShort)?;
        match opcode {
            READ => Request::parse(rest).map(Packet::Read),
            WRITE => Ok(Packet::Write),
            ACK => take_u16(rest).map(|(block, _)| Packet::Ack(block)).ok_or(Malformed::TooShort),
            ERROR => {
                // A bare opcode still says "stop".
                let (code, text) = take_u16(rest).unwrap_or((0, &[]));
                let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
                Ok(Packet::Error { code, text: text.get(..end).unwrap_or_default() })
            }
            other => Err(Malformed::Opcode(other)),
        }
    }
}

impl<'a> Request<'a> {
    fn parse(rest: &'a [u8]) -> Result<Self, Malformed> {
        let rest = rest.get(..LONGEST_REQUEST).unwrap_or(rest);
        let mut words = rest.split(|b| *b == 0);
        let name = words.next().filter(|n| !n.is_empty()).ok_or(Malformed::NoName)?;
        let mode = words.next().filter(|m| !m.is_empty()).ok_or(Malformed::NoName)?;
        let binary = [&b"octet"[..], b"netascii"].iter().any(|m| mode.eq_ignore_ascii_case(m));
        let mut options = Options::default();
        while let (Some(option), Some(value)) = (words.next(), words.next()) {
            options.set(option, value);
        }
        let mode = if binary { Mode::Binary } else { Mode::Unsupported };
        Ok(Self { name, mode, options })
    }
}

impl Options {
    /// Whether an OACK is due.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Takes over one option; the first of two equal names counts.
    fn set(&mut self, option: &[u8], value: &[u8]) {
        let Some(number) = decimal(value) else { return };
        let small = u16::try_from(number).ok();
        if option.eq_ignore_ascii_case(b"blksize") {
            // Above 65464 is outside RFC 2348; the answer may be lower than the wish, so such a wish can be met, too.
            let wish = small.unwrap_or(u16::MAX);
            self.block_size = self.block_size.or((wish >= 8).then_some(wish));
        } else if option.eq_ignore_ascii_case(b"tsize") {
            self.size = true;
        } else if option.eq_ignore_ascii_case(b"timeout") {
            self.timeout = self.timeout.or(u8::try_from(number).ok().filter(|t| *t > 0));
        } else if option.eq_ignore_ascii_case(b"windowsize") {
            self.window = self.window.or(small.filter(|w| *w > 0));
        }
    }
}

impl Datagram {
    /// One block.
    #[must_use]
    pub fn data(block: u16, body: Bytes) -> Self {
        let [o1, o2] = DATA.to_be_bytes();
        let [b1, b2] = block.to_be_bytes();
        Self::Data { head: [o1, o2, b1, b2], body }
    }

    /// An option acknowledgement with these names and values, in this order.
    #[must_use]
    pub fn option_ack<'n>(options: impl IntoIterator<Item = (&'n str, u64)>) -> Self {
        let mut out = OACK.to_be_bytes().to_vec();
        for (name, value) in options {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            out.extend_from_slice(value.to_string().as_bytes());
            out.push(0);
        }
        Self::Control(out)
    }

    /// An error with a text for the console.
    #[must_use]
    pub fn error(code: ErrorCode, text: &str) -> Self {
        let mut out = ERROR.to_be_bytes().to_vec();
        out.extend_from_slice(&code.number().to_be_bytes());
        out.extend(text.bytes().filter(|b| *b != 0));
        out.push(0);
        Self::Control(out)
    }

    /// The bytes on the wire, as head and body.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Data { head, body } => [head, body],
            Self::Control(bytes) => [bytes, &[]],
        }
    }

    /// Length on the wire in bytes.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.parts().iter().map(|p| p.len()).sum()
    }
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

/// ASCII decimal without sign; `None` for anything else and for what does not fit 64 bits.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Request<'_> {
        match Packet::parse(bytes) {
            Ok(Packet::Read(request)) => request,
            other => panic!("not a read request: {other:?}"),
        }
    }

    #[test]
    fn the_request_of_edk2_is_understood() {
        let request =
            read(b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0");
        assert_eq!(request.name, b"snponly.efi");
        assert_eq!(request.mode, Mode::Binary);
        let want = Options { block_size: Some(1468), size: true, timeout: None, window: Some(4) };
        assert_eq!(request.options, want);
    }

    #[test]
    fn option_names_and_modes_have_no_case() {
        let request = read(b"\0\x01f\0OcTeT\0BLKSIZE\x00512\0TimeOut\x003\0");
        assert_eq!(request.mode, Mode::Binary);
        assert_eq!((request.options.block_size, request.options.timeout), (Some(512), Some(3)));
        assert_eq!(read(b"\0\x01f\0netascii\0").mode, Mode::Binary);
        assert_eq!(read(b"\0\x01f\0mail\0").mode, Mode::Unsupported);
    }

    #[test]
    fn unusable_option_values_count_as_not_asked_for() {
        for (option, value) in [
            ("blksize", "7"),
            ("blksize", "-512"),
            ("blksize", ""),
            ("blksize", "0x200"),
            ("timeout", "0"),
            ("timeout", "256"),
            ("windowsize", "0"),
            ("windowsize", "65536"),
            ("multicast", ""),
            ("tsize", "99999999999999999999999"),
        ] {
            let bytes = format!("\0\x01f\0octet\0{option}\0{value}\0");
            assert!(!read(bytes.as_bytes()).options.any(), "{option}={value}");
        }
        assert_eq!(read(b"\0\x01f\0octet\0blksize\x0099999\0").options.block_size, Some(65535));
    }

    #[test]
    fn a_dangling_option_or_a_missing_last_nul_does_not_lose_the_request() {
        assert_eq!(read(b"\0\x01f\0octet\0blksize").options, Options::default());
        assert_eq!(read(b"\0\x01f\0octet").mode, Mode::Binary);
        assert_eq!(read(b"\0\x01f\0octet\0blksize\x00600").options.block_size, Some(600));
    }

    #[test]
    fn what_no_client_sends_is_malformed() {
        assert_eq!(Packet::parse(b""), Err(Malformed::TooShort));
        assert_eq!(Packet::parse(b"\0"), Err(Malformed::TooShort));
        assert_eq!(Packet::parse(b"\0\x04\0"), Err(Malformed::TooShort));
        assert_eq!(Packet::parse(b"\0\x03\0\x01data"), Err(Malformed::Opcode(3)));
        assert_eq!(Packet::parse(b"\0\x01"), Err(Malformed::NoName));
        assert_eq!(Packet::parse(b"\0\x01\0octet\0"), Err(Malformed::NoName));
        assert_eq!(Packet::parse(b"\0\x01name\0"), Err(Malformed::NoName));
    }

    #[test]
    fn answers_have_the_bytes_of_the_rfc() {
        let data = Datagram::data(0x0102, Bytes::from_static(b"xyz"));
        assert_eq!(data.parts().concat(), b"\0\x03\x01\x02xyz");
        let oack = Datagram::option_ack([("tsize", 10), ("blksize", 1468)]);
        assert_eq!(oack.parts().concat(), b"\0\x06tsize\x0010\0blksize\x001468\0");
        let error = Datagram::error(ErrorCode::NotFound, "no\0pe");
        assert_eq!(error.parts().concat(), b"\0\x05\0\x01nope\0");
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn no_request_makes_the_parser_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = vec![0, 1];
            bytes.extend(tail);
            let _ = Packet::parse(&bytes);
        }
    }
}
