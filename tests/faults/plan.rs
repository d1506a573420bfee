//! What goes wrong in one run, drawn before it begins.

use std::time::Duration;

use crate::air::Link;
use crate::daemon::Strike;
use crate::dice::Dice;
use crate::http::Trouble;
use crate::node::world::DieAt;
use crate::node::{AtConnect, AtExec};

/// The moments of a rebuild at which something can be made to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Moment {
    Rebuild,
    Offer,
    Tftp,
    Script,
    Files,
    Answer,
    FirstBootScript,
    Webhook,
    PhoneHome,
    Join,
    End,
}

impl Moment {
    pub(crate) const ALL: [Self; 11] = [
        Self::Rebuild,
        Self::Offer,
        Self::Tftp,
        Self::Script,
        Self::Files,
        Self::Answer,
        Self::FirstBootScript,
        Self::Webhook,
        Self::PhoneHome,
        Self::Join,
        Self::End,
    ];
}

/// What becomes of the installer's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Webhook {
    Once,
    Twice,
    Late,
    Never,
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) link: Link,
    pub(crate) strikes: Vec<(Moment, Strike, Duration)>,
    pub(crate) troubles: Vec<(Moment, Trouble)>,
    pub(crate) webhook: Webhook,
    pub(crate) at_connect: Vec<(usize, AtConnect)>,
    pub(crate) at_exec: Vec<(usize, AtExec)>,
    pub(crate) strike_in_join: Strike,
    pub(crate) die_at: Option<DieAt>,
    pub(crate) cancel: Option<(Moment, Duration)>,
    pub(crate) sshd_late: Duration,
    pub(crate) pvecm: Duration,
    pub(crate) big_tftp: bool,
    /// What a stranger tries while the machine is being rebuilt.
    pub(crate) stranger: bool,
}

/// Most commands of a join that can be made to fail; a whole one has about this many.
const COMMANDS: usize = 14;

impl Plan {
    /// Nothing goes wrong.
    pub(crate) fn calm() -> Self {
        Self {
            link: Link::GOOD,
            strikes: Vec::new(),
            troubles: Vec::new(),
            webhook: Webhook::Once,
            at_connect: Vec::new(),
            at_exec: Vec::new(),
            strike_in_join: Strike::Kill,
            die_at: None,
            cancel: None,
            sshd_late: Duration::ZERO,
            pvecm: Duration::from_millis(50),
            big_tftp: false,
            stranger: false,
        }
    }

    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut plan = Self::calm();
        if dice.percent(35) {
            plan.link = Link::BAD;
        }
        for _ in 0..*dice.pick(&[0, 0, 1, 1, 2]) {
            let strike = match dice.below(100) {
                0..=49 => Strike::Kill,
                50..=64 => Strike::Term,
                65..=74 => Strike::Clock,
                75..=82 => Strike::ClockAndKill,
                83..=87 => Strike::ReadOnly,
                88..=95 => Strike::DiskFull,
                _ => Strike::Second,
            };
            let moment = *dice.pick(&Moment::ALL);
            plan.strikes.push((moment, strike, dice.up_to(Duration::from_millis(25))));
        }
        for moment in Moment::ALL {
            let chance = if plan.link == Link::BAD { 30 } else { 8 };
            if dice.percent(chance) {
                let trouble = *dice.pick(&[
                    Trouble::Lost,
                    Trouble::Cut,
                    Trouble::AnswerLost,
                    Trouble::Doubled,
                    Trouble::Dribble,
                ]);
                plan.troubles.push((moment, trouble));
            }
        }
        plan.webhook = *dice.pick(&[
            Webhook::Once,
            Webhook::Once,
            Webhook::Twice,
            Webhook::Late,
            Webhook::Never,
        ]);
        if dice.percent(20) {
            let fault = match dice.below(10) {
                0 => AtConnect::Hang(Duration::from_secs(20)),
                1..=3 => AtConnect::Lie,
                _ => AtConnect::Drop,
            };
            plan.at_connect.push((dice.below(4), fault));
        }
        if dice.percent(35) {
            let fault = match dice.below(20) {
                0..=3 => AtExec::LostBefore,
                4..=7 => AtExec::LostAfter,
                8..=10 => AtExec::StrikeBefore,
                11..=14 => AtExec::StrikeAfter,
                15..=17 => AtExec::MemberGone(dice.up_to(Duration::from_secs(3))),
                _ => AtExec::Slow(dice.up_to(Duration::from_secs(1))),
            };
            plan.at_exec.push((dice.below(COMMANDS), fault));
            plan.strike_in_join = *dice.pick(&[Strike::Kill, Strike::Kill, Strike::Term]);
        }
        if dice.percent(8) {
            plan.die_at = Some(*dice.pick(&[DieAt::Stop, DieAt::Certificate]));
        }
        if dice.percent(10) {
            let moment = *dice.pick(&Moment::ALL);
            plan.cancel = Some((moment, dice.up_to(Duration::from_millis(300))));
        }
        if dice.percent(15) {
            plan.sshd_late = dice.up_to(Duration::from_secs(1));
        }
        plan.pvecm = dice.up_to(Duration::from_millis(400));
        plan.big_tftp = dice.percent(5);
        plan.stranger = dice.percent(30);
        plan
    }

    pub(crate) fn trouble(&self, moment: Moment) -> Trouble {
        let planned = self.troubles.iter().find(|(m, _)| *m == moment);
        planned.map_or(Trouble::None, |(_, trouble)| *trouble)
    }
}
