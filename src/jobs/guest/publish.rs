//! A guest's definition in the reverse proxy's repository: previewed, published, withdrawn.

use std::net::{IpAddr, Ipv4Addr};

use super::{Working, install, provision};
use crate::apps::publish::{PublishError, Publisher};
use crate::config::apps::Services;
use crate::domain::app::Manifest;
use crate::domain::guest::{Ipv4Config, PublishedService};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::jobs::Engine;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::order::Order;
use crate::plan::service::{self, Definition, Service, ServiceError};

/// Stands in a preview for an address that only the running container will have.
const LATER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn definition(services: &Services, wanted: &Service) -> Result<Definition, ServiceError> {
    let wanted = Service { headers: services.headers, auth: services.auth, ..wanted.clone() };
    service::definition(&services.template, &services.path, &services.file_name, &wanted)
}

/// The definition of an order as it will be written; an address that comes from DHCP is told as such.
///
/// # Errors
/// The template does not fit these values.
pub(super) fn preview(
    engine: &Engine,
    manifest: &Manifest,
    order: &Order,
) -> Result<Option<String>, Refusal> {
    let (Some(services), Some(service)) = (&engine.layer()?.apps.services, &order.service) else {
        return Ok(None);
    };
    let fixed = match order.spec.network.ipv4 {
        Ipv4Config::Static { address, .. } => Some(IpAddr::V4(address)),
        Ipv4Config::Dhcp => None,
    };
    let wanted = Service {
        name: order.name.to_string(),
        domain: service.domain.clone(),
        address: fixed.unwrap_or(LATER),
        port: service.port,
        headers: false,
        auth: false,
        public: service.public,
        health_path: manifest.expose.as_ref().and_then(|e| e.health_path.clone()),
    };
    let made = definition(services, &wanted).map_err(|error| {
        Refusal::new(
            RefusalKind::Unprocessable,
            with_causes(&error),
            "correct the section [apps.services] of the configuration",
        )
    })?;
    let text = if fixed.is_some() {
        made.text
    } else {
        made.text.replace(&LATER.to_string(), "(the container's address)")
    };
    Ok(Some(format!("{}\n{text}", made.file)))
}

/// Domains in the repository with the file that defines each; none when nothing is published.
///
/// # Errors
/// The repository cannot be read.
pub(super) async fn domains(engine: &Engine) -> Result<Vec<(String, String)>, Refusal> {
    let Some(publisher) = &engine.layer()?.publisher else { return Ok(Vec::new()) };
    let taken = publisher.taken_domains().await.map_err(|error| {
        Refusal::new(RefusalKind::Unavailable, with_causes(&error), "see [apps.services]")
    })?;
    Ok(taken.into_iter().collect())
}

fn failed(error: &PublishError) -> StepFailure {
    let hint = "the guest works; correct the repository or its credentials, then publish again";
    StepFailure::of(error.class(), with_causes(error), hint)
}

/// Publishes the guest's definition with the address that the container really has.
pub(super) async fn publish(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let Some(wanted) = working.guest.service.clone() else {
        return Ok(StepDone::Skipped("it is not exposed".to_owned()));
    };
    let (publisher, services) = publisher(working)?;
    let app = provision::folder(working)?;
    let Some(expose) = &app.manifest.expose else {
        return Err(StepFailure::for_good("this version of the app offers nothing to expose", ""));
    };
    let service = Service {
        name: working.guest.name.to_string(),
        domain: wanted.domain.clone(),
        address: install::address(working)?,
        port: expose.port,
        headers: services.headers,
        auth: services.auth,
        public: wanted.public,
        health_path: expose.health_path.clone(),
    };
    let definition = definition(&services, &service).map_err(|e| {
        StepFailure::for_good(with_causes(&e), "correct the section [apps.services]")
    })?;
    // Before the push: should its success stay unknown, the removal of the guest takes the definition out all the same.
    let (file, message) = (definition.file.clone(), format!("{} gets published", service.name));
    working
        .record(message, move |guest| {
            if let Some(service) = &mut guest.service {
                service.path = file;
            }
        })
        .await?;
    let published = publisher.publish(&definition).await.map_err(|e| failed(&e))?;
    let told =
        format!("{} on {}, commit {}", definition.file, published.branch, short(&published.commit));
    let message = format!("{} is published as {}", working.guest.name, wanted.domain);
    let done = PublishedService {
        path: definition.file,
        commit: Some(published.commit),
        branch: Some(published.branch),
        ..wanted
    };
    working.record(message, move |guest| guest.service = Some(done)).await?;
    Ok(StepDone::Done(told))
}

/// Takes the guest's definition out of the repository.
pub(super) async fn withdraw(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let Some(service) = working.guest.service.clone().filter(|s| !s.path.is_empty()) else {
        return Ok(StepDone::Skipped("it is not published".to_owned()));
    };
    let (publisher, _) = publisher(working)?;
    let name = working.guest.name.to_string();
    let published = publisher.withdraw(&service.path, &name).await.map_err(|e| failed(&e))?;
    let message = format!("{name} is not published any more");
    working.record(message, |guest| guest.service = None).await?;
    Ok(StepDone::Done(format!(
        "{} is gone from {}, commit {}",
        service.path,
        published.branch,
        short(&published.commit)
    )))
}

fn publisher(working: &Working<'_>) -> Result<(Publisher, Services), StepFailure> {
    let layer = working.layer;
    match (&layer.publisher, &layer.apps.services) {
        (Some(publisher), Some(services)) => Ok((publisher.clone(), services.clone())),
        _ => Err(StepFailure::for_good(
            "no repository of services is configured any more",
            "configure [apps.services] again, or take the definition out by hand",
        )),
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(10).collect()
}
