//! Power: what operators ask of a host's machine, and the step of a rebuild that boots it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::engine::Engine;
use super::record::log;
use super::request::{emit, no_such_host};
use super::runner::{StepDone, StepFailure};
use crate::domain::audit::{Change, Fate, FieldChange};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::fault::ErrorClass;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::host::Host;
use crate::domain::id::{HostId, JobId};
use crate::domain::job::{Job, StepStatus};
use crate::domain::power::{Action, Method, Power, PowerState};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::plan::power as plan;
use crate::plan::rebuild::step;
use crate::power::{Order, Outcome, Place, PowerError, Switchboard, Target};
use crate::report::queue;
use crate::store::{HostReads as _, JobReads as _, NewEvent, SecretReads as _, of_host};

/// Sealed secret of a host: the password of its power method.
pub const POWER_SECRET: &str = "power";
/// Between the two tries of a rebuild's order.
const PAUSE: Duration = Duration::from_secs(5);

/// New power settings of a host.
#[derive(Debug, Clone)]
pub struct PowerChange {
    /// The settings.
    pub power: Power,
    /// What becomes of the password.
    pub password: NewPassword,
}

/// What becomes of a stored password.
#[derive(Debug, Clone)]
pub enum NewPassword {
    /// It stays.
    Keep,
    /// It is replaced.
    Set(Secret<String>),
    /// It goes.
    Forget,
}

/// What a machine or its controller said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PowerAnswer {
    /// Whether it runs, as far as anybody can tell.
    pub state: PowerState,
    /// One sentence.
    pub said: String,
    /// The certificate that the operator has to compare and trust first.
    pub untrusted: Option<Fingerprint>,
}

/// A switch for the audit log, which has an operator's only.
#[derive(Debug, Clone, Copy)]
struct Done {
    field: &'static str,
    before: Option<&'static str>,
    after: Option<&'static str>,
}

/// Whether a rebuild of this host boots it by itself.
pub(super) fn is_asked_for(engine: &Engine, host: &Host) -> bool {
    let types = engine.context().types.borrow();
    plan::boots_by_itself(host, types.types.get(&host.server_type))
}

impl Engine {
    /// Changes how a host is switched. The password is for one controller and one user: with others it has to be given again.
    ///
    /// # Errors
    /// Unknown host, settings that cannot work, a password that is missing.
    pub async fn set_power(&self, id: HostId, change: PowerChange) -> Result<Host, Refusal> {
        plan::check(&change.power)?;
        if let NewPassword::Set(password) = &change.password {
            plan::check_password(&change.power.method, password)?;
        }
        self.store()
            .write(move |tx| {
                let mut host = tx.host(id)?.ok_or_else(no_such_host)?;
                let is_new = !plan::is_same_machine(&host.power.method, &change.power.method);
                if is_new
                    && let Some(other) = tx.hosts()?.into_iter().find(|other| {
                        other.id != id
                            && plan::is_same_machine(&other.power.method, &change.power.method)
                    })
                {
                    let detail = format!("{} is switched by this controller", other.hostname);
                    let hint = "name the controller of this machine; of one with several systems, the system too";
                    let refusal = Refusal::new(RefusalKind::Conflict, detail, hint);
                    return Err(refusal.about("power_address"));
                }
                let name = of_host(id, POWER_SECRET);
                let same = host.power.method.account() == change.power.method.account();
                match change.password {
                    NewPassword::Set(password) => tx.put_secret(&name, password.expose()),
                    NewPassword::Forget => tx.delete_secret(&name),
                    NewPassword::Keep if same => {}
                    NewPassword::Keep => tx.delete_secret(&name),
                }
                let has_password = tx.open_secret(&name)?.is_some();
                if plan::needs_password(&change.power.method) && !has_password {
                    let detail = "this controller and user need a password";
                    let hint = "a stored one is used with the controller and user it was given for, and nobody else";
                    return Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about("power_password"));
                }
                host.power = change.power;
                tx.save_host(&host)?;
                let message = format!("{}: power {}", host.hostname, plan::told(&host.power));
                emit(tx, &host, EventKind::HostChanged, message)?;
                Ok(host)
            })
            .await
    }

    /// Asks whether a host's machine runs; also tests address, certificate and login.
    ///
    /// # Errors
    /// No method, nobody answers, wrong login.
    pub async fn power_state(&self, id: HostId) -> Result<PowerAnswer, Refusal> {
        let (host, target) = self.target(id).await?;
        if host.power.method == Method::None {
            plan::permit(&host, Action::On, "")?;
        }
        match self.context().power.order(&target, Order::Look).await {
            Ok(Outcome { state, said }) => Ok(PowerAnswer { state, said, untrusted: None }),
            Err(error @ PowerError::Untrusted { shown, .. }) => {
                let said = format!("{error}; {}", error.hint());
                Ok(PowerAnswer { state: PowerState::Unknown, said, untrusted: Some(shown) })
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Switches a host's machine.
    ///
    /// # Errors
    /// The appliance itself, a method that cannot do it, a node whose name was not typed, a controller that refuses.
    pub async fn switch_power(
        &self,
        id: HostId,
        action: Action,
        confirm: &str,
    ) -> Result<PowerAnswer, Refusal> {
        let board = &self.context().power;
        let place = board.place().await;
        let (host, target) = self.target(id).await?;
        self.refuse_appliance(&host)?;
        plan::permit(&host, action, confirm)?;
        let message = format!("{}: power {} is ordered", host.hostname, action.as_str());
        let done = Done { field: "power order", before: None, after: Some(action.as_str()) };
        self.note_switched(&host, Level::Info, message, done).await?;
        // For who reads later what was cut off. A controller that cannot tell may still be able to switch.
        let before = match looked_at(board, &place, &target).await {
            Ok(before) => before,
            Err(error) => {
                tracing::debug!(host = %host.hostname, %error, "its power state cannot be read");
                PowerState::Unknown
            }
        };
        let ordered = board.order_at(&place, &target, Order::Switch(action)).await;
        let (level, message) = match &ordered {
            Ok(outcome) => (
                Level::Info,
                format!("{}: power {}: {}", host.hostname, action.as_str(), outcome.said),
            ),
            Err(error) => (
                Level::Warn,
                format!("{}: power {} failed: {error}", host.hostname, action.as_str()),
            ),
        };
        let after = ordered.as_ref().map_or("failed", |outcome| outcome.state.as_str());
        let done = Done { field: "power", before: Some(before.as_str()), after: Some(after) };
        self.note_switched(&host, level, message, done).await?;
        let Outcome { state, said } = ordered.map_err(|e| refusal(&e))?;
        Ok(PowerAnswer { state, said, untrusted: None })
    }

    fn refuse_appliance(&self, host: &Host) -> Result<(), Refusal> {
        let Some(why) = self.context().appliance.recognises(host) else { return Ok(()) };
        let detail = format!("{} is the machine that Ironhatch runs on: {why}", host.hostname);
        Err(Refusal::new(RefusalKind::Forbidden, detail, "switch it by hand"))
    }

    async fn note_switched(
        &self,
        host: &Host,
        level: Level,
        message: String,
        done: Done,
    ) -> Result<(), Refusal> {
        let (host, name) = (host.id, format!("host {}", host.hostname));
        self.store()
            .write(move |tx| {
                let subject = Subject { host: Some(host), ..Default::default() };
                tx.emit(NewEvent { level, subject, kind: EventKind::PowerSwitched, message })?;
                let text = |word: &str| word.to_owned();
                let (before, after) = (done.before.map(text), done.after.map(text));
                let fields = vec![FieldChange { field: done.field.to_owned(), before, after }];
                tx.tell(Change { subject: name, fate: Fate::Done, fields });
                Ok(())
            })
            .await
    }

    async fn host_now(&self, id: HostId) -> Result<Host, Refusal> {
        self.store().read::<_, Refusal, _>(move |r| r.host(id)?.ok_or_else(no_such_host)).await
    }

    /// A host with its password, as one order needs them.
    async fn target(&self, id: HostId) -> Result<(Host, Target), Refusal> {
        let key = self.store().master_key();
        let (host, password) = self
            .store()
            .read::<_, Refusal, _>(move |r| {
                let host = r.host(id)?.ok_or_else(no_such_host)?;
                Ok((host, r.secret(&key, &of_host(id, POWER_SECRET))?))
            })
            .await?;
        let (mac, directed) = match &host.power.method {
            Method::WakeOnLan(wake) => (wake.mac, wake.directed),
            _ => (None, None),
        };
        let efi = match &host.power.method {
            Method::Ipmi(ipmi) => plan::ipmi_efi(ipmi.mode, host.inventory.firmware),
            _ => true,
        };
        let own = self.context().config.pxe.as_ref().map(|pxe| pxe.subnet);
        let target = Target {
            method: host.power.method.clone(),
            password: password.map(|p| Secret::new(p.as_str().to_owned())),
            uuid: host.known_uuid(),
            never: self.context().appliance.uuid,
            efi,
            macs: mac.map_or_else(|| host.macs.clone(), |mac| vec![mac]),
            wake: plan::wake_targets(own, &host, directed),
        };
        Ok((host, target))
    }
}

/// Whether a machine runs now; nobody can tell without a controller.
async fn looked_at(
    board: &Switchboard,
    place: &Place,
    target: &Target,
) -> Result<PowerState, PowerError> {
    if matches!(target.method, Method::None | Method::WakeOnLan(_)) {
        return Ok(PowerState::Unknown);
    }
    Ok(board.order_at(place, target, Order::Look).await?.state)
}

fn refusal(error: &PowerError) -> Refusal {
    let kind = match error {
        PowerError::Unreachable { .. } | PowerError::Program(_) => RefusalKind::Unavailable,
        _ => RefusalKind::Unprocessable,
    };
    Refusal::new(kind, error.to_string(), error.hint())
}

/// The step of a rebuild that boots the machine. What goes wrong here never ends the rebuild: a hand can do the same.
pub(super) async fn boot(engine: &Engine, job: &Job, host: &Host) -> Result<StepDone, StepFailure> {
    let id = host.id;
    let mut failed = match boot_once(engine, id).await? {
        Ok(done) => return Ok(done),
        Err(failed) => failed,
    };
    if failed.class() == ErrorClass::Transient {
        let step = step::POWER.parse().ok();
        let text = format!("{failed}; trying once more in {} s", PAUSE.as_secs());
        log(engine, job.id, step, Level::Warn, text).await?;
        tokio::time::sleep(PAUSE).await;
        failed = match boot_once(engine, id).await? {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
    }
    let step = step::POWER.parse().ok();
    let text = format!("{} could not be booted: {failed} ({})", host.hostname, failed.hint());
    log(engine, job.id, step, Level::Warn, text).await?;
    let why = format!("It could not be booted by {}: {failed}.", host.power.method.title());
    needs_a_hand(engine, job.id, why).await?;
    Ok(StepDone::Recorded)
}

/// Ends the step as skipped, and queues that somebody has to turn the machine on, in one write.
async fn needs_a_hand(engine: &Engine, id: JobId, why: String) -> Result<(), Refusal> {
    let config = engine.context().config.clone();
    engine
        .store()
        .write(move |tx| {
            let Some(mut job) = tx.job(id)?.filter(|job| !job.status.is_terminal()) else {
                return Ok(());
            };
            tx.set_step(&mut job, step::POWER, StepStatus::Skipped, &why)?;
            match job.host().map(|host| tx.host(host)).transpose()?.flatten() {
                Some(host) => queue::host_waiting(tx, &config, &host, &job),
                None => Ok(()),
            }
        })
        .await
}

/// One try. The outer error is the database's.
async fn boot_once(engine: &Engine, id: HostId) -> Result<Result<StepDone, PowerError>, Refusal> {
    let (host, target) = engine.target(id).await?;
    engine.refuse_appliance(&host)?;
    let board = &engine.context().power;
    let can_look = !matches!(host.power.method, Method::None | Method::WakeOnLan(_));
    let mut state = PowerState::Unknown;
    if can_look {
        state = match board.order(&target, Order::Look).await {
            Ok(outcome) => outcome.state,
            Err(error) => return Ok(Err(error)),
        };
        let begun = plan::for_rebuild(&engine.host_now(id).await?, state);
        if let plan::Boot::Leave(why) = begun {
            return Ok(Ok(StepDone::Done(why.to_owned())));
        }
        if let Err(error) = board.order(&target, Order::BootOnce).await {
            return Ok(Err(error));
        }
    }
    // Looked at again: all this took its time, and a machine that installs must not lose its power.
    let place = board.place().await;
    let action = match plan::for_rebuild(&engine.host_now(id).await?, state) {
        plan::Boot::Leave(why) => return Ok(Ok(StepDone::Done(why.to_owned()))),
        plan::Boot::Do(action) => action,
    };
    Ok(match board.order_at(&place, &target, Order::Switch(action)).await {
        Ok(outcome) => {
            let message = format!("{}: booted for its rebuild: {}", host.hostname, outcome.said);
            let done = Done { field: "power", before: Some(state.as_str()), after: Some("on") };
            engine.note_switched(&host, Level::Info, message, done).await?;
            Ok(StepDone::Done(outcome.said))
        }
        Err(error) => Err(error),
    })
}
