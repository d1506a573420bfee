//! The controller's side of the root channel: one typed request over SSH, its streamed answer, and how it ended.
//!
//! The key opens nothing but the node's agent (`command="…",restrict` in `authorized_keys`): what this side puts into SSH's
//! `exec` request is not looked at. Every answer is a line of `proto::verb`; a line that is none ends the call.

use std::ops::ControlFlow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::EphemeralKey;
use super::ssh::{ConnectError, ErrorClass, ExecError, Limits, Session, Source, Target};
use crate::domain::refusal::with_causes;
use crate::limits::channel::COMPLAINT_BYTES;
use crate::plan::join::brief;
use crate::proto::verb::{
    Answer, Frame, MOST_FRAME, MOST_OUTPUT, MOST_PAYLOAD, Malformed, Request, Rule, Stream, Verb,
    encode_request,
};

/// What is sent as the command. A node that runs it has no forced command for this key, and says that it is not found.
const COMMAND: &str = "ironhatch-node-agent";
/// What the lines of an answer may add up to, beside the output itself: JSON writes a control character as six bytes, and
/// base64 adds a third.
const MOST_RECEIVED: usize = 6 * MOST_OUTPUT;

/// Limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// From the request to the last frame. Longer than the time that an `exec` itself has, so that the node's own report
    /// of a timeout arrives.
    pub timeout: Duration,
    /// Bytes of a pulled file.
    pub most_data: u64,
}

impl CallLimits {
    /// Limits that fit a verb: what it may take itself, and half a minute for the way there and back.
    #[must_use]
    pub fn for_verb(verb: &Verb) -> Self {
        let own = match verb {
            Verb::Exec { timeout_sec, .. } => u64::from(*timeout_sec),
            // One `pct` takes a second and more; importing a pool of slow disks a minute.
            Verb::ImportPool { .. } | Verb::ImportablePools | Verb::DriverCheck => 180,
            _ => 120,
        };
        let most_data = if let Verb::Pull { most, .. } = verb { *most } else { MOST_PAYLOAD };
        Self { timeout: Duration::from_secs(own + 30), most_data }
    }
}

/// How a call that was carried out ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Exit status of the program in the guest; 0 for verbs that run none.
    pub status: i32,
    /// Facts, for verbs that ask for some.
    pub answer: Option<Answer>,
    /// Bytes of a pulled file.
    pub data: Vec<u8>,
}

/// A call was not carried out, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The request cannot be sent: the node would refuse it for its form.
    #[error("the request is not valid")]
    Invalid(#[source] Malformed),
    /// The node did nothing, because a rule says no.
    #[error("the node refused ({}): {detail}", rule.map_or("unknown rule", Rule::as_str))]
    Refused {
        /// The rule; `None` for one that this version does not know.
        rule: Option<Rule>,
        /// What the node said.
        detail: String,
    },
    /// The node tried, and it failed.
    #[error("{detail}")]
    Failed {
        /// What the node said.
        detail: String,
    },
    /// No end came in time. What was begun may have happened.
    #[error("the node did not finish within {seconds} s; whether it did anything is not known")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The connection ended before the last frame. What was begun may have happened.
    #[error("the connection to the node was lost; whether it did anything is not known")]
    Dropped(#[source] ExecError),
    /// What answers is not our agent, or one of another version.
    #[error("what the node answered is not the channel's protocol: {detail}")]
    Protocol {
        /// What was seen.
        detail: String,
    },
    /// The node sent more than was asked for.
    #[error("the node sent more than {limit} bytes")]
    TooMuch {
        /// The limit.
        limit: u64,
    },
    /// sshd lets the key in but runs nothing for it.
    #[error("the node's SSH server refused to run the agent")]
    NoAgent(#[source] ExecError),
}

impl ChannelError {
    /// What to do with it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            // The guest may have been started or stopped meanwhile.
            Self::Refused { rule: Some(Rule::State), .. }
            | Self::Timeout { .. }
            | Self::Dropped(_)
            | Self::Failed { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::NoAgent(_) => ErrorClass::Denied,
            Self::Invalid(_) | Self::Protocol { .. } | Self::TooMuch { .. } => ErrorClass::Broken,
        }
    }

    /// What happened with all its causes, in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        with_causes(self)
    }

    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { rule: Some(Rule::Pool), .. } => {
                "put the guest into Ironhatch's pool, or remove its record"
            }
            Self::Refused { rule: Some(Rule::Tag), .. } => {
                "give the guest the tag 'ironhatch' again, or remove its record"
            }
            Self::Refused { rule: Some(Rule::Guest), .. } => {
                "look where the guest is: it may have been moved to another node or destroyed"
            }
            Self::Refused { rule: Some(Rule::State), .. } => {
                "start or stop the guest as the message says, then retry"
            }
            Self::Refused { rule: Some(Rule::Version), .. } | Self::Protocol { .. } => {
                "enroll the node again: its agent is of another version or missing"
            }
            Self::NoAgent(_) => "enroll the node again: the key has no agent there",
            Self::Failed { .. } => "read the log of this step, then retry",
            Self::Timeout { .. } | Self::Dropped(_) => {
                "check that the node is up; the step is looked at again before it is repeated"
            }
            Self::Refused { .. } | Self::Invalid(_) | Self::TooMuch { .. } => {
                "report this as a bug"
            }
        }
    }
}

/// A connection to one node's agent. Calls may follow each other on it, and run at the same time.
#[derive(Debug)]
pub struct Channel {
    session: Session,
}

impl Channel {
    /// Connects, checks the host key against the pinned ones and logs in with the channel's key, all within `limit`.
    ///
    /// # Errors
    /// [`ConnectError`]; its class tells whether to try again.
    pub async fn connect(
        target: &Target,
        key: &EphemeralKey,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        Session::connect(target, key, limit).await.map(|session| Self { session })
    }

    /// Whether the connection is known to have ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// Asks the node to do something and waits for the end. `payload` are the bytes of a `push`, else empty; `on_output`
    /// gets what the program in the guest prints, in pieces that end at a line's end where possible, as it comes.
    ///
    /// When the returned future is dropped the node notices, and kills the program in the guest.
    ///
    /// # Errors
    /// [`ChannelError`]. A program that ends with another status than 0 is not an error here.
    pub async fn call(
        &self,
        request: &Request,
        payload: &[u8],
        limits: CallLimits,
        on_output: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<Outcome, ChannelError> {
        let mut stdin = encode_request(request).map_err(ChannelError::Invalid)?;
        stdin.extend_from_slice(payload);
        let mut reading = Reading::new(limits.most_data, on_output);
        let ssh = Limits { timeout: limits.timeout, max_output: MOST_RECEIVED };
        let ended = {
            let mut sink = |source, data: &[u8]| reading.take(source, data);
            self.session.stream(&[COMMAND], &stdin, ssh, &mut sink).await
        };
        reading.end(ended)
    }

    /// Asks who the agent is.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn hello(&self) -> Result<Answer, ChannelError> {
        let request = Request::new(Verb::Hello);
        let limits = CallLimits::for_verb(&request.verb);
        match self.call(&request, &[], limits, &mut |_, _| {}).await?.answer {
            Some(answer @ Answer::Hello { .. }) => Ok(answer),
            _ => Err(ChannelError::Protocol { detail: "no answer to 'hello'".to_owned() }),
        }
    }

    /// Says goodbye. Dropping a channel ends it too.
    pub async fn close(self) {
        self.session.close().await;
    }
}

/// One answer while it comes in, in pieces as the network cuts it. Pure.
pub struct Reading<'a> {
    most_data: u64,
    on_output: &'a mut (dyn FnMut(Stream, &str) + Send),
    /// The line that is not complete yet.
    line: Vec<u8>,
    complaint: Vec<u8>,
    answer: Option<Answer>,
    data: Vec<u8>,
    /// The last frame, or what was wrong with a line.
    last: Option<Result<i32, ChannelError>>,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("last", &self.last).finish_non_exhaustive()
    }
}

impl<'a> Reading<'a> {
    /// Nothing came yet. `most_data` are the bytes of a pulled file that are taken.
    pub fn new(most_data: u64, on_output: &'a mut (dyn FnMut(Stream, &str) + Send)) -> Self {
        Self {
            most_data,
            on_output,
            line: Vec::new(),
            complaint: Vec::new(),
            answer: None,
            data: Vec::new(),
            last: None,
        }
    }

    /// Takes a piece. `Break`: nothing that follows can count any more.
    pub fn take(&mut self, source: Source, mut data: &[u8]) -> ControlFlow<()> {
        if source == Source::Stderr {
            let room = COMPLAINT_BYTES.saturating_sub(self.complaint.len());
            self.complaint.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            return ControlFlow::Continue(());
        }
        while let Some(end) = data.iter().position(|b| *b == b'\n') {
            let (head, rest) = data.split_at(end + 1);
            self.line.extend_from_slice(head);
            data = rest;
            let line = std::mem::take(&mut self.line);
            if self.last.is_some() {
                self.broken("something after the last frame");
            } else {
                self.frame(&line);
            }
            if matches!(
                self.last,
                Some(Err(ChannelError::Protocol { .. } | ChannelError::TooMuch { .. }))
            ) {
                return ControlFlow::Break(());
            }
        }
        self.line.extend_from_slice(data);
        if self.line.len() > MOST_FRAME {
            self.broken("a line that does not end");
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn broken(&mut self, detail: &str) {
        let seen = brief(&String::from_utf8_lossy(self.line.get(..200).unwrap_or(&self.line)));
        let detail = if seen.is_empty() { detail.to_owned() } else { format!("{detail} ({seen})") };
        self.last = Some(Err(ChannelError::Protocol { detail }));
    }

    fn frame(&mut self, line: &[u8]) {
        let frame = match Frame::decode(line) {
            Ok(frame) => frame,
            Err(error) => {
                self.line = line.to_vec();
                return self.broken(&error.detail);
            }
        };
        match frame {
            Frame::Output { stream, text } => (self.on_output)(stream, &text),
            Frame::Data { base64 } => match STANDARD.decode(base64) {
                Ok(bytes) => {
                    self.data.extend_from_slice(&bytes);
                    if self.data.len() as u64 > self.most_data {
                        self.last = Some(Err(ChannelError::TooMuch { limit: self.most_data }));
                    }
                }
                Err(_) => self.broken("data that is not base64"),
            },
            Frame::Answer(answer) => self.answer = Some(answer),
            Frame::Done { status } => self.last = Some(Ok(status)),
            Frame::Refused { rule, detail } => {
                let refused =
                    ChannelError::Refused { rule: Rule::from_word(&rule), detail: brief(&detail) };
                self.last = Some(Err(refused));
            }
            Frame::Failed { detail } => {
                self.last = Some(Err(ChannelError::Failed { detail: brief(&detail) }));
            }
        }
    }

    /// What the answer was, when the session ended like this.
    ///
    /// # Errors
    /// [`ChannelError`]: refused, failed, cut off, or no answer of an agent at all.
    pub fn end(self, ended: Result<u32, ExecError>) -> Result<Outcome, ChannelError> {
        match (self.last, ended) {
            // What the agent said last counts, however the connection went on.
            (Some(Ok(status)), _) => Ok(Outcome { status, answer: self.answer, data: self.data }),
            (Some(Err(error)), _) => Err(error),
            (None, Err(ExecError::Timeout { seconds })) => Err(ChannelError::Timeout { seconds }),
            (None, Err(source @ ExecError::Refused)) => Err(ChannelError::NoAgent(source)),
            (None, Err(ExecError::TooMuchOutput { limit })) => {
                Err(ChannelError::TooMuch { limit: limit as u64 })
            }
            (None, Err(source)) => Err(ChannelError::Dropped(source)),
            // A shell that does not know the command, or an agent that could not even start.
            (None, Ok(status)) => {
                let complaint = brief(&String::from_utf8_lossy(&self.complaint));
                Err(ChannelError::Protocol {
                    detail: format!("it ended with status {status} and said '{complaint}'"),
                })
            }
        }
    }
}

#[cfg(test)]
mod test;
