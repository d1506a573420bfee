//! Switches machines on and off: magic packets, Redfish, IPMI.
//!
//! What is asked and what an answer means is decided in `plan::power` and `proto::{wake, redfish, ipmi}`; this is the way
//! there. Used by the job engine, which knows who may be switched. An order ends within its limits, whatever the other side
//! does. Passwords are in memory only while an order runs, and in no argument, log line or error.

mod ipmi;
mod redfish;
mod wake;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::fault::ErrorClass;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::identity::DmiUuid;
use crate::domain::mac::Mac;
use crate::domain::power::{Action, Method, PowerState};
use crate::domain::secret::Secret;
use crate::limits::power::{CONTROLLER_ORDER, ORDERS_AT_ONCE};

/// One machine and how it is reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// What switches it.
    pub method: Method,
    /// The password of that.
    pub password: Option<Secret<String>>,
    /// Its system UUID, by which a controller of several finds it.
    pub uuid: Option<DmiUuid>,
    /// That of the machine that nobody may switch: the one that we run on.
    pub never: Option<DmiUuid>,
    /// Whether IPMI names UEFI for the boot from the network.
    pub efi: bool,
    /// Addresses that magic packets are for.
    pub macs: Vec<Mac>,
    /// Where magic packets are sent.
    pub wake: Vec<Ipv4Addr>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Whether it runs; also what tests credentials.
    Look,
    /// The next boot, and only that, is a network boot.
    BootOnce,
    /// Switch it.
    Switch(Action),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it runs, as far as that was asked and can be told.
    pub state: PowerState,
    /// One sentence.
    pub said: String,
}

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// The method cannot do that.
    #[error("{0}")]
    Cannot(String),
    /// Nothing answered as it should.
    #[error("{at} cannot be reached: {reason}")]
    Unreachable {
        /// Whom.
        at: String,
        /// Why.
        reason: String,
    },
    /// User or password are wrong, or may not do this.
    #[error("{at} does not accept the login: {reason}")]
    Login {
        /// Who.
        at: String,
        /// Why.
        reason: String,
    },
    /// No certificate was trusted yet.
    #[error("no certificate of {at} is trusted yet; it shows {shown}")]
    Untrusted {
        /// Who.
        at: String,
        /// What it shows.
        shown: Fingerprint,
    },
    /// It shows another certificate.
    #[error("{at} shows another certificate than the trusted one: {shown}")]
    Certificate {
        /// Who.
        at: String,
        /// What it shows.
        shown: Fingerprint,
    },
    /// It was understood and refused.
    #[error("{at} refuses it: {reason}")]
    Refused {
        /// Who.
        at: String,
        /// Its words.
        reason: String,
    },
    /// The program is not there.
    #[error("ipmitool cannot be started: {0}")]
    Program(std::io::Error),
}

impl PowerError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Cannot(_) => "switch the machine by hand, or choose another power method",
            Self::Unreachable { .. } => {
                "check address, network and whether this service is switched on in the controller"
            }
            Self::Login { .. } => {
                "check user and password; the user needs the right to switch the machine"
            }
            Self::Untrusted { .. } => {
                "compare the fingerprint with the one that the controller's own page shows, then trust it"
            }
            Self::Certificate { .. } => {
                "when the controller got a new certificate: compare it and trust the new one; otherwise somebody stands in between"
            }
            Self::Refused { .. } => "look at the controller's own page for what it is busy with",
            Self::Program(_) => "install it on the appliance: apt install ipmitool",
        }
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::Refused { .. } => ErrorClass::Transient,
            _ => ErrorClass::Denied,
        }
    }
}

/// Gives orders, so many at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Switchboard {
    room: Arc<Semaphore>,
}

impl Default for Switchboard {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(ORDERS_AT_ONCE)) }
    }
}

/// Leave to give an order now.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Switchboard {
    /// Waits for leave: what is decided afterwards is decided with what is true now.
    pub async fn place(&self) -> Place {
        // Nobody closes it.
        Place { _permit: Arc::clone(&self.room).acquire_owned().await.ok() }
    }

    /// Waits for leave and carries an order out.
    ///
    /// # Errors
    /// As [`Self::order_at`].
    pub async fn order(&self, target: &Target, order: Order) -> Result<Outcome, PowerError> {
        self.order_at(&self.place().await, target, order).await
    }

    /// Carries an order out.
    ///
    /// # Errors
    /// [`PowerError`]; after `Unreachable` it may have been carried out all the same.
    pub async fn order_at(
        &self,
        _place: &Place,
        target: &Target,
        order: Order,
    ) -> Result<Outcome, PowerError> {
        let carried = async {
            match &target.method {
                Method::None => Err(PowerError::Cannot("there is no power method".to_owned())),
                Method::WakeOnLan(_) => wake::order(target, order).await,
                Method::Redfish(at) => redfish::order(at, target, order).await,
                Method::Ipmi(at) => ipmi::order(at, target, order).await,
            }
        };
        timeout(CONTROLLER_ORDER, carried).await.unwrap_or_else(|_| {
            let reason = format!("the order was not over within {} s", CONTROLLER_ORDER.as_secs());
            Err(PowerError::Unreachable { at: target.method.title().to_owned(), reason })
        })
    }

    /// The certificate that a controller shows. Nothing is sent to it.
    ///
    /// # Errors
    /// [`PowerError`].
    pub async fn certificate(&self, at: SocketAddr) -> Result<Fingerprint, PowerError> {
        redfish::certificate(at).await
    }
}
