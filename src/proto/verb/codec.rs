//! Lines of the root channel to values and back, with every limit checked before anything is believed.

use std::fmt;

use serde_json::{Map, Value};

use super::{Frame, MOST_FRAME, MOST_REQUEST, MOST_TEXT, Request, VERSION, Verb, check};

/// Why a node does not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The line is no request.
    Malformed,
    /// Another version of the protocol.
    Version,
    /// Not one of the closed set of verbs.
    Verb,
    /// The key is for another node of the cluster.
    Node,
    /// No such guest on this node.
    Guest,
    /// The guest is not in our pool.
    Pool,
    /// The guest does not carry our tag.
    Tag,
    /// An argument is not allowed.
    Argument,
    /// Not in the guest's present state.
    State,
    /// Too long, too large, or too slow in coming.
    Limit,
}

impl Rule {
    const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Version,
        Self::Verb,
        Self::Node,
        Self::Guest,
        Self::Pool,
        Self::Tag,
        Self::Argument,
        Self::State,
        Self::Limit,
    ];

    /// The word in a `refused` frame and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Verb => "verb",
            Self::Node => "node",
            Self::Guest => "guest",
            Self::Pool => "pool",
            Self::Tag => "tag",
            Self::Argument => "argument",
            Self::State => "state",
            Self::Limit => "limit",
        }
    }

    /// The rule of a `refused` frame; `None` for a word that this version does not know.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == word)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line is not what it should be. The text says what was wrong and never repeats values of an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Malformed {
    /// Which rule.
    pub rule: Rule,
    /// What was wrong, in one sentence.
    pub detail: String,
}

impl Malformed {
    pub(super) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

/// Reads and checks one request line. A trailing newline may be there.
///
/// # Errors
/// [`Malformed`] with the rule: `limit`, `malformed`, `version`, `verb` or `argument`.
pub fn decode_request(line: &[u8]) -> Result<Request, Malformed> {
    if line.len() > MOST_REQUEST {
        return Err(Malformed::new(
            Rule::Limit,
            format!("the request line is longer than {MOST_REQUEST} bytes"),
        ));
    }
    // serde_json's texts may quote what they found; only the place is told.
    let broken = |error: serde_json::Error| {
        Malformed::new(
            Rule::Malformed,
            format!(
                "the request is not valid: {:?} error at byte {}",
                error.classify(),
                error.column()
            ),
        )
    };
    let fields: Map<String, Value> = serde_json::from_slice(line).map_err(broken)?;
    match fields.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            return Err(Malformed::new(
                Rule::Version,
                format!("this node speaks version {VERSION} of the channel, not {version}"),
            ));
        }
        None => return Err(Malformed::new(Rule::Malformed, "the request has no version")),
    }
    let verb = fields.get("verb").and_then(Value::as_str).unwrap_or_default();
    if !Verb::NAMES.contains(&verb) {
        return Err(Malformed::new(
            Rule::Verb,
            format!("'{}' is not a verb of this channel", printable(verb)),
        ));
    }
    // From the text again and not from the map: a key that is there twice is refused this way.
    let request: Request = serde_json::from_slice(line).map_err(broken)?;
    // QUIRK(serde): unit variants of a tagged enum take unknown fields in silence.
    if request.verb.takes_no_argument() && fields.len() != 2 {
        return Err(Malformed::new(
            Rule::Malformed,
            format!("{verb} takes no argument, and the request has some"),
        ));
    }
    check(&request.verb)?;
    Ok(request)
}

/// Writes one request line, the newline included. What a node would refuse for its form is refused here already.
///
/// # Errors
/// [`Malformed`], as [`decode_request`].
pub fn encode_request(request: &Request) -> Result<Vec<u8>, Malformed> {
    check(&request.verb)?;
    let mut line = serde_json::to_vec(request).map_err(|e| {
        Malformed::new(Rule::Malformed, format!("the request cannot be written: {e}"))
    })?;
    line.push(b'\n');
    if line.len() > MOST_REQUEST {
        return Err(Malformed::new(
            Rule::Limit,
            format!("the request line would be longer than {MOST_REQUEST} bytes"),
        ));
    }
    Ok(line)
}

impl Frame {
    /// One line, the newline included. Output text and data must have been cut to [`MOST_TEXT`](super::MOST_TEXT) and
    /// [`MOST_DATA`](super::MOST_DATA); a frame that is too long nevertheless becomes a `failed` frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        if line.is_empty() || line.len() >= MOST_FRAME {
            line =
                br#"{"frame":"failed","detail":"an answer of the node was too long to be sent"}"#
                    .to_vec();
        }
        line.push(b'\n');
        line
    }

    /// Reads one line. Fields that are not known are skipped: a newer agent may say more.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(line: &[u8]) -> Result<Self, Malformed> {
        if line.len() > MOST_FRAME {
            return Err(Malformed::new(
                Rule::Limit,
                format!("an answer line is longer than {MOST_FRAME} bytes"),
            ));
        }
        serde_json::from_slice(line).map_err(|error| {
            Malformed::new(
                Rule::Malformed,
                format!(
                    "an answer is not a frame: {:?} error at byte {}",
                    error.classify(),
                    error.column()
                ),
            )
        })
    }
}

/// How many bytes of `text` go into one output frame: up to the last line end within the limit, else up to a character's
/// end. The text is bytes of a program; what is not UTF-8 is cut anywhere. 0 only for an empty text.
#[must_use]
pub fn cut_text(text: &[u8]) -> usize {
    if text.len() <= MOST_TEXT {
        return text.len();
    }
    let head = text.get(..MOST_TEXT).unwrap_or(text);
    if let Some(end) = head.iter().rposition(|b| *b == b'\n') {
        return end + 1;
    }
    // Step back over at most three continuation bytes (RFC 3629).
    let begins = |at: usize| text.get(at).is_none_or(|b| b & 0xc0 != 0x80);
    (MOST_TEXT - 3..=MOST_TEXT).rev().find(|at| begins(*at)).unwrap_or(MOST_TEXT)
}

/// Text of a stranger for a sentence: short, and without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
