//! Which hosts of the fleet are wanted: one filter for the page, the API, the command line and the rebuild of many.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::host::{Host, HostState};
use crate::domain::id::{HostId, ServerTypeName};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::proto::pve::encode::pairs;

/// A filter as it stands in an address, a form or a body. Empty parts want all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// A state's name, or `busy` for every state in which a rebuild runs.
    #[serde(alias = "show")]
    pub state: String,
    /// A server type.
    #[serde(rename = "type")]
    pub server_type: String,
    /// `yes`: only hosts with a problem.
    pub problem: String,
    /// Words that must all be found: name, addresses, serial numbers, vendor, product.
    pub q: String,
}

/// Which states are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// All of them.
    All,
    /// Those in which a rebuild runs.
    Busy,
    /// This one.
    One(HostState),
}

impl States {
    /// Whether a host in this state is wanted.
    #[must_use]
    pub fn admit(self, state: HostState) -> bool {
        match self {
            Self::All => true,
            Self::Busy => state.is_busy(),
            Self::One(wanted) => state == wanted,
        }
    }

    /// As in an address; empty for all.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Busy => "busy",
            Self::One(state) => state.as_str(),
        }
    }
}

/// A filter that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Which states.
    pub states: States,
    /// Which server type; `None`: every one.
    pub server_type: Option<ServerTypeName>,
    /// Only hosts with a problem.
    pub problem: bool,
    /// Words in lower case that must all be found.
    words: Vec<String>,
    /// These words as they were typed.
    pub text: String,
}

impl Filter {
    /// Reads what was asked for. Whatever is not understood is refused: a filter with a typing error must not want all
    /// hosts.
    ///
    /// # Errors
    /// Unknown state, name of no server type, `problem` neither yes nor no.
    pub fn parse(asked: &Asked) -> Result<Self, Refusal> {
        let states = match asked.state.trim() {
            "" | "all" => States::All,
            "busy" => States::Busy,
            name => {
                let state = HostState::ALL.into_iter().find(|state| state.as_str() == name);
                States::One(state.ok_or_else(|| {
                    let names: Vec<&str> = HostState::ALL.iter().map(|s| s.as_str()).collect();
                    let hint = format!("Known states: busy, {}.", names.join(", "));
                    refuse("state", format!("there is no state '{}'", cut(name)), hint)
                })?)
            }
        };
        let server_type = match asked.server_type.trim() {
            "" => None,
            name => Some(name.parse().map_err(|_| {
                let hint = "The list of server types shows what there is.";
                refuse("type", format!("there is no server type '{}'", cut(name)), hint)
            })?),
        };
        let problem = match asked.problem.trim() {
            "" | "no" | "false" => false,
            "yes" | "true" => true,
            other => {
                let detail = format!("'{}' is neither yes nor no", cut(other));
                return Err(refuse("problem", detail, "Leave it out to want every host."));
            }
        };
        let text = asked.q.trim().to_owned();
        let words = text.split_whitespace().map(str::to_lowercase).collect();
        Ok(Self { states, server_type, problem, words, text })
    }

    /// Whether a host is wanted.
    #[must_use]
    pub fn admits(&self, host: &Host, problems: &Problems) -> bool {
        self.states.admit(host.state) && self.admits_in_any_state(host, problems)
    }

    /// Whether a host would be wanted in some state: what the counts of the states are made of.
    #[must_use]
    pub fn admits_in_any_state(&self, host: &Host, problems: &Problems) -> bool {
        self.server_type.as_ref().is_none_or(|wanted| host.server_type == *wanted)
            && (!self.problem || problems.of(host).is_some())
            && (self.words.is_empty() || finds(&self.words, host))
    }

    /// Those of the hosts that are wanted.
    #[must_use]
    pub fn wanted<'a>(&self, hosts: &'a [Host], problems: &Problems) -> Vec<&'a Host> {
        hosts.iter().filter(|host| self.admits(host, problems)).collect()
    }

    /// Those of the hosts that would be wanted in some state.
    #[must_use]
    pub fn wanted_in_any_state<'a>(&self, hosts: &'a [Host], problems: &Problems) -> Vec<&'a Host> {
        hosts.iter().filter(|host| self.admits_in_any_state(host, problems)).collect()
    }

    /// Whether every host is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.states == States::All
            && self.server_type.is_none()
            && !self.problem
            && self.words.is_empty()
    }

    /// The same with other states.
    #[must_use]
    pub fn with(&self, states: States) -> Self {
        Self { states, ..self.clone() }
    }

    /// As the part of an address behind the question mark; empty when every host is wanted.
    #[must_use]
    pub fn query(&self) -> String {
        let server_type = self.server_type.as_ref().map_or("", ServerTypeName::as_str);
        let problem = if self.problem { "yes" } else { "" };
        let all = [
            ("state", self.states.as_str()),
            ("type", server_type),
            ("problem", problem),
            ("q", self.text.as_str()),
        ];
        pairs(all.into_iter().filter(|(_, value)| !value.is_empty()))
    }

    /// In words: `failed, of type lab, with "rack1"`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut parts = Vec::new();
        match self.states {
            States::All => {}
            States::Busy => parts.push("in progress".to_owned()),
            States::One(state) => parts.push(state.as_str().replace('_', " ")),
        }
        parts.extend(self.server_type.as_ref().map(|name| format!("of type {name}")));
        if self.problem {
            parts.push("with a problem".to_owned());
        }
        if !self.text.is_empty() {
            parts.push(format!("with “{}”", cut(&self.text)));
        }
        if parts.is_empty() { "all hosts".to_owned() } else { parts.join(", ") }
    }
}

fn finds(words: &[String], host: &Host) -> bool {
    let mut text = format!("{} {} ", host.hostname, host.server_type);
    for mac in &host.macs {
        let colons = mac.to_string();
        // As labels, switches and scripts write it.
        text.push_str(&format!(
            "{colons} {} {} ",
            colons.replace(':', "-"),
            colons.replace(':', "")
        ));
    }
    let seen = &host.inventory;
    let told = [&seen.vendor, &seen.product, &seen.serial, &seen.asset];
    let disks = seen.disks.iter().flat_map(|disk| [&disk.serial, &disk.wwn]);
    for part in told.into_iter().chain(disks).flatten() {
        text.push_str(part);
        text.push(' ');
    }
    for part in [host.address.map(|a| a.to_string()), host.uuid.map(|u| u.to_string())] {
        text.push_str(&part.unwrap_or_default());
        text.push(' ');
    }
    if let Some(network) = &host.overrides.network {
        text.push_str(&network.cidr);
    }
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

/// What can be wrong with a host beyond its own record.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// Server types that can be used.
    pub types: BTreeSet<ServerTypeName>,
    /// Why an enrolled node cannot be worked on, by the host that it is.
    pub nodes: BTreeMap<HostId, String>,
}

impl Problems {
    /// What is wrong with a host, in a sentence; `None`: nothing that is known.
    #[must_use]
    pub fn of(&self, host: &Host) -> Option<String> {
        if let Some(failure) = &host.failure {
            return Some(failure.reason.clone());
        }
        if host.state == HostState::Failed {
            return Some("its last rebuild failed".to_owned());
        }
        if !self.types.contains(&host.server_type) {
            return Some(format!("its server type '{}' cannot be used", host.server_type));
        }
        self.nodes.get(&host.id).map(|why| format!("its node cannot be used: {why}"))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

fn refuse(field: &'static str, detail: String, hint: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Unprocessable, detail, hint).about(field)
}

#[cfg(test)]
mod test;
