//! Who may have what: the guard in front of everything that a rebuild hands out.
//!
//! Rule 1 of the design lives here as pure functions: an answer leaves only for an armed host whose token, MAC and
//! (when known) system UUID agree, once per rebuild. The shells look token, job and host up inside one transaction,
//! ask here, and write the state change before a byte is sent.

use crate::domain::host::{Host, HostEvent, transition};
use crate::domain::id::HostId;
use crate::domain::identity::DmiUuid;
use crate::domain::image::Release;
use crate::domain::job::{Job, Rebuild, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::proto::installer::AnswerRequest;

fn forbid(detail: String, hint: &str) -> Refusal {
    Refusal::new(RefusalKind::Forbidden, detail, hint)
}

/// The rebuild a token belongs to, if it still lives.
///
/// # Errors
/// The token's job is over, is being cancelled, or is no rebuild.
pub fn live_rebuild(job: &Job) -> Result<&Rebuild, Refusal> {
    let Work::Rebuild(rebuild) = &job.work else {
        return Err(forbid("this token belongs to no rebuild".to_owned(), ""));
    };
    if job.status.is_terminal() {
        let detail =
            format!("the rebuild of {} is over; its token opens nothing", rebuild.hostname);
        return Err(forbid(detail, "start a new rebuild"));
    }
    if job.cancel_requested {
        let detail = format!("the rebuild of {} was cancelled", rebuild.hostname);
        return Err(forbid(detail, "start a new rebuild"));
    }
    Ok(rebuild)
}

/// Whether a machine that fetches its boot script is the host it says it is.
///
/// # Errors
/// Its system UUID is known and differs.
pub fn may_boot(host: &Host, uuid: Option<DmiUuid>) -> Result<(), Refusal> {
    match (host.uuid, uuid) {
        (Some(known), Some(seen)) if known != seen => Err(forbid(
            format!(
                "the MAC is that of {}, but the system UUID is {seen}, not {known}",
                host.hostname
            ),
            "another machine uses this MAC; if the mainboard was replaced, let the host forget its UUID and rebuild again",
        )),
        _ => Ok(()),
    }
}

/// Whether kernel, initrd and ISO may be fetched: only until the answer has left.
///
/// # Errors
/// The host is not armed any more.
pub fn may_fetch_installer(job: &Job, host: &Host) -> Result<(), Refusal> {
    live_rebuild(job)?;
    if host.state.is_armed() {
        return Ok(());
    }
    Err(forbid(
        format!("{} is {}: the installer is only for an armed host", host.hostname, host.state),
        "its network boot is local boot until it is rebuilt again",
    ))
}

/// Whether the answer may leave for this machine now.
///
/// # Errors
/// With the rule that forbids it; nothing may be released then.
pub fn may_have_answer(
    job: &Job,
    host: &Host,
    image: &Release,
    facts: &AnswerRequest,
) -> Result<(), Refusal> {
    let rebuild = live_rebuild(job)?;
    let conflict = |detail: String, hint: &str| {
        Refusal::new(RefusalKind::Conflict, detail, hint).because_of(Some(job.id))
    };
    if rebuild.host != host.id || host.active_job != Some(job.id) {
        return Err(forbid(
            format!("this token does not belong to {}", host.hostname),
            "start a new rebuild",
        ));
    }
    if rebuild.answer_served.is_some() {
        return Err(conflict(
            format!("the answer for {} was already served, and is served only once", host.hostname),
            "if that installation failed, rebuild the host again",
        ));
    }
    if let Err(denied) = transition(host.state, HostEvent::AnswerServed) {
        return Err(conflict(denied.to_string(), "rebuild the host to arm it"));
    }
    if facts.product != image.product {
        return Err(forbid(
            format!(
                "the installer is for '{}', this rebuild is for '{}'",
                facts.product, image.product
            ),
            "boot the installer that Ironhatch serves",
        ));
    }
    let build = facts.iso_release.as_ref().unwrap_or(&image.iso_release);
    if (&facts.release, build) != (&image.release, &image.iso_release) {
        return Err(conflict(
            format!(
                "the installer is release {}-{build}, this rebuild is for {}-{}",
                facts.release, image.release, image.iso_release
            ),
            "boot the installer that Ironhatch serves",
        ));
    }
    if !facts.macs.iter().any(|mac| host.macs.contains(mac)) {
        return Err(forbid(
            format!("none of this machine's MACs belongs to {}", host.hostname),
            "the token is for another machine; check which one was booted",
        ));
    }
    // What iPXE told at this boot counts too: the machine that asks must be the one that fetched the script.
    match (host.known_uuid(), facts.uuid) {
        (Some(known), Some(seen)) if known != seen => Err(forbid(
            format!("the system UUID is {seen}, {} is known as {known}", host.hostname),
            "if the mainboard was replaced, let the host forget its UUID and rebuild again",
        )),
        (Some(known), None) if host.uuid.is_some() => Err(forbid(
            format!("this machine tells no system UUID, {} is known as {known}", host.hostname),
            "if the mainboard was replaced, let the host forget its UUID and rebuild again",
        )),
        _ => Ok(()),
    }
}

/// Whether a callback with this token is from the host it names.
///
/// # Errors
/// The token is another host's, or its rebuild is over.
pub fn may_call_back(job: &Job, host: HostId) -> Result<(), Refusal> {
    let rebuild = live_rebuild(job)?;
    if rebuild.host == host {
        return Ok(());
    }
    Err(forbid(
        "this token belongs to another host".to_owned(),
        "use the URL that came with the answer",
    ))
}

#[cfg(test)]
mod test;
