//! How machines become hosts without a form: by the rule of a server type, or from a file. Neither arms anything: a host
//! that comes into being here is `registered`, without a job and without a token, as after the form.

use super::NewHost;
use super::appliance::Appliance;
use super::engine::{Engine, Gate};
use super::request::{adopt_sightings, emit, register};
use crate::config::reload::ServerTypesView;
use crate::domain::event::EventKind;
use crate::domain::form::{Declined, FieldError};
use crate::domain::host::{Host, HostOverrides, HostState};
use crate::domain::id::Hostname;
use crate::domain::refusal::Refusal;
use crate::domain::sighting::Sighting;
use crate::limits::record::REGISTERED_BY_RULE;
use crate::plan::matching::{next_name, registering};
use crate::plan::roster::{self, Becomes, Change, Format};
use crate::store::{HostReads as _, NodeReads as _, Tx};

/// Whether a file is only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// What would change is told, nothing is written.
    DryRun,
    /// All of it is written, or nothing.
    Apply,
}

/// Registers a machine that was just heard, when exactly one server type wants it. It gets the first free name.
pub(super) fn by_rule(
    tx: &mut Tx<'_, '_>,
    types: &ServerTypesView,
    appliance: &Appliance,
    gate: &Gate,
    seen: &Sighting,
) -> Result<Option<Host>, Refusal> {
    if seen.ignored || seen.by_hand {
        return Ok(None);
    }
    let Some(wanted) = registering(types.types.values(), seen.mac, &seen.inventory) else {
        return Ok(None);
    };
    let own = seen.inventory.uuid;
    let is_ours =
        appliance.macs.contains(&seen.mac) || own.is_some_and(|uuid| appliance.uuid == Some(uuid));
    // Before the hosts are read: who floods us with invented machines waits here, not the writer.
    if is_ours || !gate.has_room(tx.now()) {
        return Ok(None);
    }
    let hosts = tx.hosts()?;
    // A machine that is a host already may have booted from another of its NICs: as a second host it would be without all that
    // protects the first one.
    let is_known = own.is_some_and(|uuid| {
        hosts.iter().any(|h| h.uuid == Some(uuid) || h.inventory.uuid == Some(uuid))
    });
    let waiting = hosts.iter().filter(|h| h.state == HostState::Registered).count();
    if is_known || waiting >= REGISTERED_BY_RULE {
        return Ok(None);
    }
    let mut taken: Vec<Hostname> = hosts.into_iter().map(|h| h.hostname).collect();
    let nodes = tx.enrolled_nodes()?;
    taken.extend(nodes.iter().filter_map(|node| node.name.as_str().parse::<Hostname>().ok()));
    let Ok(hostname) = next_name(&wanted.hostname_prefix, &taken).parse() else { return Ok(None) };
    if !gate.admits(tx.now()) {
        return Ok(None);
    }
    let new = NewHost {
        hostname,
        macs: vec![seen.mac],
        server_type: wanted.name.clone(),
        overrides: HostOverrides::default(),
    };
    let how = format!("by the rule of {}; it is not armed", wanted.name);
    Ok(Some(register(tx, new, &how)?))
}

/// Of a host that is deleted: what a rule would register again at its next boot stays as machines that only an operator
/// registers.
pub(super) fn leave_to_the_operator(
    tx: &mut Tx<'_, '_>,
    types: &ServerTypesView,
    deleted: &Host,
) -> Result<(), Refusal> {
    for mac in &deleted.macs {
        if registering(types.types.values(), *mac, &deleted.inventory).is_some() {
            let heard = Sighting::first_heard(*mac, tx.now());
            let inventory = deleted.inventory.clone();
            tx.save_sighting(&Sighting { inventory, by_hand: true, ..heard })?;
        }
    }
    Ok(())
}

impl Engine {
    /// All hosts as a file.
    ///
    /// # Errors
    /// A value that the form cannot hold, or a failing database.
    pub async fn export_hosts(&self, format: Format) -> Result<String, Refusal> {
        let hosts = self.store().read::<_, Refusal, _>(|r| Ok(r.hosts()?)).await?;
        roster::write(&hosts, format).map_err(|reason| {
            let detail = format!("the hosts cannot be written in this form: {reason}");
            Refusal::new(
                crate::domain::refusal::RefusalKind::Unprocessable,
                detail,
                "choose the other form",
            )
        })
    }

    /// Registers and changes hosts as a file says, in one write: all of it or nothing. Hosts that it does not name stay.
    ///
    /// # Errors
    /// Everything that is wrong with it, by row.
    pub async fn import_hosts(
        &self,
        text: &str,
        format: Format,
        mode: ImportMode,
    ) -> Result<Vec<Change>, Declined> {
        let entries = roster::read(text, format).map_err(Declined::Fields)?;
        let types = self.context().types.borrow().clone();
        let done = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let hosts = tx.hosts()?;
                let is_known = |name: &_| types.types.contains_key(name);
                let changes = match roster::compare(&entries, &hosts, &is_known) {
                    Ok(changes) => changes,
                    Err(wrong) => return Ok(Err(wrong)),
                };
                if mode == ImportMode::Apply {
                    for (change, (_, entry)) in changes.iter().zip(entries) {
                        apply(tx, change.becomes, entry)?;
                    }
                }
                Ok::<Result<_, Vec<FieldError>>, _>(Ok(changes))
            })
            .await?;
        done.map_err(Declined::Fields)
    }
}

fn apply(tx: &mut Tx<'_, '_>, becomes: Becomes, entry: roster::Entry) -> Result<(), Refusal> {
    match becomes {
        Becomes::Same => {}
        Becomes::New => {
            let overrides = entry.overrides(&HostOverrides::default());
            let roster::Entry { hostname, macs, server_type, .. } = entry;
            register(tx, NewHost { hostname, macs, server_type, overrides }, "from a file")?;
        }
        Becomes::Changed => {
            let Some(mut host) = tx.host_by_name(&entry.hostname)? else { return Ok(()) };
            host.overrides = entry.overrides(&host.overrides);
            host.macs = entry.macs;
            host.server_type = entry.server_type;
            adopt_sightings(tx, &mut host)?;
            tx.save_host(&host)?;
            let message = format!("{} was changed from a file", host.hostname);
            emit(tx, &host, EventKind::HostChanged, message)?;
        }
    }
    Ok(())
}
