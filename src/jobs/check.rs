//! Everything that must be true before a disk is wiped, and the answer that does it. Asked when a rebuild is requested,
//! again by its first step, and a last time when the answer is about to leave.

use std::time::Duration;

use rand::Rng as _;

use super::engine::Engine;
use super::join;
use super::rebuild::PASSWORD_SECRET;
use super::record::log;
use super::runner::StepFailure;
use crate::config::reload::ServerTypesView;
use crate::domain::event::Level;
use crate::domain::host::Host;
use crate::domain::image::Image;
use crate::domain::inventory::Firmware;
use crate::domain::job::{Job, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::{InstallToken, Secret};
use crate::domain::server_type::{DiskSelection, ServerType};
use crate::plan::answer::access::{RootPassword, generated_password};
use crate::plan::answer::{
    AnswerInputs, Callback, Dialect, Enforced, Feature, Ordering, Template, prepare,
};
use crate::plan::rebuild::memory_needed_mib;
use crate::store::{Tx, of_job};

/// An answer on its way to the installer.
#[derive(Debug)]
pub struct ServedAnswer {
    /// TOML or JSON.
    pub text: String,
    /// Its media type.
    pub content_type: &'static str,
}

fn refuse(detail: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Unprocessable, detail, hint)
}

/// What can be told at once when a rebuild is asked for.
///
/// # Errors
/// The appliance itself, an answer the installer would reject, too little memory. Returns the disk that will be erased.
pub(super) fn before_arming(
    engine: &Engine,
    host: &Host,
    image: &Image,
) -> Result<DiskSelection, Refusal> {
    another_machine(engine, host)?;
    memory(host, image).map_err(|(reason, hint)| refuse(reason, hint))?;
    // The same composition as later, with stand-ins for the secrets that do not exist yet.
    answer_text(engine, host, image, &stand_ins(engine), None).map(|(_, disk)| disk)
}

/// Whether the host is another machine than the one that Ironhatch runs on.
///
/// # Errors
/// By what it was recognised.
pub(super) fn another_machine(engine: &Engine, host: &Host) -> Result<(), Refusal> {
    match engine.context().appliance.recognises(host) {
        Some(why) => Err(refuse(
            format!("{} is the machine that Ironhatch runs on: {why}", host.hostname),
            "run Ironhatch on another machine to rebuild this one",
        )),
        None => Ok(()),
    }
}

/// What stands in the place of a rebuild's secrets before there are any.
pub(super) fn stand_ins(engine: &Engine) -> RebuildSecrets {
    let password_hash = match &engine.context().config.credentials.root_password_hash {
        Some(hash) => hash.clone(),
        None => Secret::new(SPECIMEN_HASH.to_owned()),
    };
    let token = InstallToken::from_random([0; 16]);
    RebuildSecrets { token, public_key: SPECIMEN_KEY.to_owned(), password_hash }
}

/// A syntactically right public key that opens nothing: its private half was never made.
const SPECIMEN_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA specimen";
/// A syntactically right SHA-512 crypt string that no password has: its digest part is all `.`, which is zero.
const SPECIMEN_HASH: &str = concat!(
    "$6$specimenspecimen$",
    "...........................................",
    "..........................................."
);

/// What only exists once a rebuild is armed.
pub(super) struct RebuildSecrets {
    token: InstallToken,
    public_key: String,
    password_hash: Secret<String>,
}

/// Whether the memory that iPXE saw is enough for the image; unknown memory passes.
///
/// # Errors
/// Reason and hint.
pub(super) fn memory(host: &Host, image: &Image) -> Result<(), (String, &'static str)> {
    let Some(seen) = host.inventory.memory_mib else { return Ok(()) };
    let firmware = host.inventory.firmware.unwrap_or(Firmware::Bios);
    let needed = memory_needed_mib(image.size, image.initrd_size, firmware);
    // iPXE counts what firmware leaves over: up to a few percent below what is plugged in.
    if seen + seen / 16 >= needed {
        return Ok(());
    }
    Err((
        format!(
            "{} has {seen} MiB of memory, installing {} over the network needs about {needed} MiB",
            host.hostname, image.id
        ),
        "the whole ISO is loaded into memory: add memory and let the host forget its hardware, or install it from a medium",
    ))
}

/// Whether the machine has what its server type promises; unknown memory passes.
///
/// # Errors
/// What it has and what it should have.
pub(super) fn promised_memory(host: &Host, server_type: &ServerType) -> Result<(), Refusal> {
    match (server_type.min_memory_mib, host.inventory.memory_mib) {
        (Some(least), Some(seen)) if seen + seen / 16 < least => Err(refuse(
            format!(
                "{} has {seen} MiB of memory, its server type says at least {least} MiB",
                host.hostname
            ),
            "give it another server type, or look at its memory modules; after a change let the host forget its hardware",
        )),
        _ => Ok(()),
    }
}

/// The dialect of an image's installer.
///
/// # Errors
/// A release that cannot be installed by itself.
pub(super) fn dialect_of(image: &Image) -> Result<Dialect, Refusal> {
    Dialect::for_release(&image.release.release)
        .map_err(|e| refuse(e.to_string(), "import a supported image"))
}

/// Whether a node that an image's installer made can call back.
///
/// # Errors
/// Which release can.
pub(super) fn can_call_back(dialect: Dialect, image: &Image) -> Result<(), Refusal> {
    if dialect.has(Feature::FirstBoot) {
        return Ok(());
    }
    Err(refuse(
        format!(
            "release {} has no first-boot script, so the installed node could not call back",
            image.release.release
        ),
        format!("import an image of release {} or newer", Feature::FirstBoot.since()),
    ))
}

/// The host's server type.
///
/// # Errors
/// Why there is none that can be used.
pub(super) fn type_of<'a>(
    engine: &Engine,
    view: &'a ServerTypesView,
    host: &Host,
) -> Result<&'a ServerType, Refusal> {
    view.types.get(&host.server_type).ok_or_else(|| {
        let why =
            engine.type_problem(&host.server_type).unwrap_or_else(|| "its file is gone".to_owned());
        refuse(
            format!("the server type '{}' cannot be used: {why}", host.server_type),
            "correct its file, or give the host another type",
        )
    })
}

/// The answer template that a server type names.
///
/// # Errors
/// There is none.
pub(super) fn template_of<'a>(
    view: &'a ServerTypesView,
    server_type: &ServerType,
) -> Result<&'a Template, Refusal> {
    view.templates.get(&server_type.answer_template).ok_or_else(|| {
        refuse(
            format!("there is no answer template '{}'", server_type.answer_template),
            "correct answer_template in the server type",
        )
    })
}

/// What Ironhatch sets itself.
pub(super) fn enforced(engine: &Engine, host: &Host, secrets: &RebuildSecrets) -> Enforced {
    let callbacks = &engine.context().callbacks;
    let base = &callbacks.url;
    let token = secrets.token.reveal();
    let callback = |what: &str| Callback {
        url: format!("{base}/api/hosts/{}/{what}?token={token}", host.id),
        cert_fingerprint: callbacks.certificate.as_ref().map(|c| c.fingerprint),
    };
    let mut ssh_keys = vec![secrets.public_key.clone()];
    ssh_keys.extend(engine.context().config.credentials.ssh_keys.iter().cloned());
    Enforced {
        ssh_keys,
        root_password: RootPassword::Configured(secrets.password_hash.clone()),
        webhook: callback("installed"),
        first_boot: callback("first-boot-script"),
        ordering: Ordering::NetworkOnline,
    }
}

/// The disk that an answer for this host erases.
pub(super) fn disk_of(host: &Host, server_type: &ServerType) -> DiskSelection {
    host.overrides.boot_disk.clone().unwrap_or_else(|| server_type.boot_disk.clone())
}

fn answer_text(
    engine: &Engine,
    host: &Host,
    image: &Image,
    secrets: &RebuildSecrets,
    accept: Option<&str>,
) -> Result<(ServedAnswer, DiskSelection), Refusal> {
    let view = engine.context().types.borrow().clone();
    let dialect = dialect_of(image)?;
    let server_type = type_of(engine, &view, host)?;
    promised_memory(host, server_type)?;
    can_call_back(dialect, image)?;
    let template = template_of(&view, server_type)?;
    let enforced = enforced(engine, host, secrets);
    let inputs = AnswerInputs {
        dialect,
        host,
        server_type,
        template,
        time_zones: view.time_zones.as_ref(),
        enforced: &enforced,
    };
    let prepared = prepare(&inputs, accept).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        refuse(
            format!(
                "the installer would reject the answer for {}: {}",
                host.hostname,
                all.join("; ")
            ),
            "correct the server type, the template or the host's own values",
        )
    })?;
    let disk = disk_of(host, server_type);
    let served = ServedAnswer { text: prepared.text, content_type: prepared.format.content_type() };
    Ok((served, disk))
}

/// The answer of a live rebuild, composed and checked inside the write that releases it.
///
/// # Errors
/// A rule of the installer, or secrets that are gone.
pub(super) fn answer_for(
    engine: &Engine,
    tx: &Tx<'_, '_>,
    job: &Job,
    host: &Host,
    image: &Image,
    token: &InstallToken,
    accept: Option<&str>,
) -> Result<ServedAnswer, Refusal> {
    let gone = |what: &str| {
        Refusal::new(
            RefusalKind::Conflict,
            format!("{what} of this rebuild is gone from the database"),
            "start a new rebuild",
        )
    };
    let Work::Rebuild(work) = &job.work else { return Err(gone("the record")) };
    let hash =
        tx.open_secret(&of_job(job.id, PASSWORD_SECRET))?.ok_or_else(|| gone("the password"))?;
    let secrets = RebuildSecrets {
        token: token.clone(),
        public_key: work.public_key.clone().ok_or_else(|| gone("the ephemeral key"))?,
        password_hash: Secret::new(hash.to_string()),
    };
    let (answer, disk) = answer_text(engine, host, image, &secrets, accept)?;
    still_confirmed(job, host, &disk)?;
    Ok(answer)
}

/// Whether the disk that would be erased is the one that was confirmed with the rebuild.
///
/// # Errors
/// It was changed since.
pub(super) fn still_confirmed(job: &Job, host: &Host, disk: &DiskSelection) -> Result<(), Refusal> {
    let Work::Rebuild(work) = &job.work else { return Ok(()) };
    if work.disk.as_ref().is_none_or(|confirmed| confirmed == disk) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::Conflict,
        format!(
            "the disk to be erased on {} was changed after the rebuild was confirmed",
            host.hostname
        ),
        "cancel this rebuild and confirm a new one",
    )
    .because_of(Some(job.id)))
}

/// Root's password hash for one rebuild: the configured one, or that of a random password that nobody ever sees.
pub(super) fn root_password_hash(engine: &Engine) -> Result<Secret<String>, StepFailure> {
    if let Some(hash) = &engine.context().config.credentials.root_password_hash {
        return Ok(hash.clone());
    }
    let mut password = [0u8; 24];
    let mut salt = [0u8; 12];
    rand::rng().fill_bytes(&mut password);
    rand::rng().fill_bytes(&mut salt);
    generated_password(password, salt).map(|made| made.hash).map_err(|e| StepFailure {
        reason: e.to_string(),
        hint: "this is a bug; report it".to_owned(),
        is_transient: false,
    })
}

/// The first step of a rebuild: everything that can be looked at is looked at, and each look is a line of the log.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) async fn preflight(
    engine: &Engine,
    job: &Job,
    host: &Host,
) -> Result<String, StepFailure> {
    let Work::Rebuild(work) = &job.work else {
        return Err(refuse("not a rebuild", "").into());
    };
    let id = work.image.clone();
    let image = engine
        .store()
        .read::<_, Refusal, _>(move |r| Ok(crate::store::ImageReads::image(r, &id)?))
        .await?
        .ok_or_else(|| refuse(format!("the image {} is gone", work.image), "import it again"))?;
    engine.open_image(&image).await?;
    tell(engine, job, format!("image {} is readable ({} MiB)", image.id, image.size >> 20)).await?;
    before_arming(engine, host, &image)?;
    tell(engine, job, "the answer passes every rule of this release's installer".to_owned())
        .await?;
    match host.inventory.memory_mib {
        Some(seen) => tell(engine, job, format!("memory is enough: {seen} MiB were seen")).await?,
        None => {
            let text =
                "the machine's memory is not known yet; it is checked when it boots".to_owned();
            tell(engine, job, text).await?;
        }
    }
    let cluster = join::look_ahead(engine, job, host, LOOK_TIMEOUT).await?;
    tell(engine, job, cluster.clone()).await?;
    Ok(format!("image, answer, memory and cluster are in order; {cluster}"))
}

/// A look at the cluster before anything is touched must not take long.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);

async fn tell(engine: &Engine, job: &Job, text: String) -> Result<(), Refusal> {
    log(engine, job.id, "preflight".parse().ok(), Level::Info, text).await
}
