//! One run: one machine is rebuilt under a plan of faults, until it is a node.
//!
//! The machine does what real ones do: firmware asks again, the installer asks once and hangs when it gets nothing, the
//! installed system calls until it is heard. The operator does what operators do: switches a hanging machine off and on,
//! cancels what cannot go on, and rebuilds again.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::air::{Air, Link};
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::http::{Reply, Request, Sent, Trouble};
use crate::ledger::{Arming, Ledger};
use crate::node::{Sshd, host_key};
use crate::plan::{Moment, Plan, Webhook};
use crate::support::machine::Machine;

/// How often the operator rebuilds before it is said that the machine never becomes a node. Only the first time has
/// faults of its own; later ones suffer from those of the other machines of the same life.
const ARMINGS: usize = 6;
/// How long one rebuild may take: retries of a join wait for minutes.
const LONGEST: Duration = Duration::from_secs(400);
/// Between looks at a host while its machine has nothing to do.
const LOOK: Duration = Duration::from_millis(300);
/// What the script of an installer names and no other.
pub(crate) const INSTALLER: &str = "proxmox-start-auto-installer";

/// What all machines of a life share.
pub(crate) struct Stage {
    pub(crate) daemon: Rc<Daemon>,
    pub(crate) air: Rc<Air>,
    pub(crate) sshd: Sshd,
}

struct Installed {
    token: String,
    webhook: String,
    host_key: String,
    webhook_sent: bool,
}

pub(crate) struct Run {
    stage: Rc<Stage>,
    machine: Machine,
    address: String,
    dice: Dice,
    plan: Plan,
    ledger: Ledger,
    installed: Option<Installed>,
    joining_seen: bool,
}

/// The hardware address of a machine's number.
pub(crate) fn mac_bytes(n: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0, 0, n]
}

impl Run {
    pub(crate) fn new(stage: Rc<Stage>, n: u8, mut dice: Dice) -> Self {
        let plan = Plan::draw(&mut dice);
        Self::with(stage, n, dice, plan)
    }

    /// The same with a plan.
    pub(crate) fn with(stage: Rc<Stage>, n: u8, dice: Dice, plan: Plan) -> Self {
        let machine = Machine::new(n);
        let ledger =
            Ledger { name: format!("pve{n}"), plan: format!("{plan:?}"), ..Ledger::default() };
        let address = format!("192.0.2.{n}");
        Self { stage, machine, address, dice, plan, ledger, installed: None, joining_seen: false }
    }

    /// The whole story.
    pub(crate) async fn story(mut self) -> Ledger {
        let begun = Instant::now();
        self.register().await;
        let mut ready = false;
        for arming in 0..ARMINGS {
            if arming > 0 {
                self.plan = Plan::calm();
                self.stage.sshd.calm(&self.address);
            }
            let Some(job) = self.rebuild().await else { break };
            self.carry(&job).await;
            let job = self.stage.daemon.get(&format!("/api/jobs/{job}")).await;
            let status = job["status"].as_str().unwrap_or("unknown").to_owned();
            if let Some(reason) = job["failure"]["reason"].as_str() {
                self.ledger.reasons.push(reason.to_owned());
            }
            if let Some(arming) = self.ledger.arming() {
                arming.ended = Some(status.clone());
            }
            if status == "succeeded" {
                self.look_at_the_node(&job);
                self.probe().await;
                ready = true;
                break;
            }
        }
        if !ready {
            let text =
                format!("{} never became ready: {:#?}", self.ledger.name, self.ledger.reasons);
            self.ledger.complain(text);
        }
        self.ledger.took_ms = begun.elapsed().as_millis();
        self.ledger
    }

    fn host_path(&self) -> String {
        format!("/api/hosts/{}", self.ledger.name)
    }

    async fn register(&mut self) {
        let body = json!({ "hostname": self.ledger.name, "macs": [self.machine.mac], "server_type": "lab" });
        let begun = Instant::now();
        let mut acknowledged = false;
        loop {
            let host = self.stage.daemon.get(&self.host_path()).await;
            if let Some(id) = host["id"].as_str() {
                self.ledger.id = id.to_owned();
                return;
            }
            if acknowledged || begun.elapsed() > LONGEST {
                let text = format!("{} was registered and is not there", self.ledger.name);
                self.ledger.complain(text);
                return;
            }
            let reply = self.stage.daemon.ask("POST", "/api/hosts", Some(&body)).await;
            acknowledged = reply.is_some_and(|r| r.status == 201);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks for a rebuild until it begins; the job's id.
    async fn rebuild(&mut self) -> Option<String> {
        self.moment(Moment::Rebuild);
        self.installed = None;
        self.joining_seen = false;
        self.stage.sshd.world().power_off(&self.address);
        let body = json!({ "confirm": self.ledger.name, "replace_node": true });
        let path = format!("{}/rebuild", self.host_path());
        let begun = Instant::now();
        loop {
            let reply = self.stage.daemon.ask("POST", &path, Some(&body)).await;
            let told = reply.as_ref().filter(|r| r.status == 202).map(Reply::json);
            let job = match told {
                Some(body) => body["job"].as_str().map(str::to_owned),
                // The answer was lost: perhaps it began.
                None => self.stage.daemon.get(&self.host_path()).await["job"]
                    .as_str()
                    .map(str::to_owned),
            };
            if let Some(job) = job {
                self.ledger.armings.push(Arming { job: job.clone(), ..Arming::default() });
                return Some(job);
            }
            let refused = reply.as_ref().is_some_and(|r| r.status == 422);
            if refused || begun.elapsed() > LONGEST {
                let said = reply.map(|r| r.text()).unwrap_or_default();
                self.ledger.complain(format!("no rebuild of {} begins: {said}", self.ledger.name));
                return None;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Lets happen what the plan has for this moment.
    fn moment(&mut self, moment: Moment) {
        let (now, later): (Vec<_>, Vec<_>) =
            self.plan.strikes.drain(..).partition(|(m, _, _)| *m == moment);
        self.plan.strikes = later;
        for (_, strike, delay) in now {
            let dice = self.dice.fork();
            self.stage.daemon.strike_later(strike, delay, dice);
        }
    }

    fn trouble(&mut self, moment: Moment) -> Trouble {
        self.moment(moment);
        let trouble = self.plan.trouble(moment);
        // Once: the next try of the same thing gets through.
        self.plan.troubles.retain(|(m, _)| *m != moment);
        trouble
    }

    /// Until the job is over.
    async fn carry(&mut self, job: &str) {
        let begun = Instant::now();
        let mut cancel = self.plan.cancel.take();
        let mut told = false;
        loop {
            let host = self.stage.daemon.get(&self.host_path()).await;
            if host["job"].is_null() {
                return;
            }
            let state = host["state"].as_str().unwrap_or_default().to_owned();
            if begun.elapsed() > LONGEST && !told {
                told = true;
                let job = self.stage.daemon.get(&format!("/api/jobs/{job}")).await;
                let end = self.stage.daemon.log_end();
                self.ledger
                    .complain(format!("{} hangs in {state}: {job:#}\n{end}", self.ledger.name));
                self.cancel(job["id"].as_str().unwrap_or_default()).await;
            }
            if begun.elapsed() > LONGEST * 2 {
                return;
            }
            match state.as_str() {
                "pxe_ready" | "pxe_booted" => {
                    let due = cancel.take_if(|(m, _)| *m <= Moment::Answer);
                    if let Some((_, delay)) = due {
                        self.cancel_later(job, delay);
                    }
                    self.boot().await;
                }
                "installing" | "installed" if self.installed.is_none() => self.cancel(job).await,
                "installing" | "installed" => self.call_home().await,
                "first_boot" | "joining" if !self.joining_seen => {
                    self.joining_seen = true;
                    self.moment(Moment::Join);
                    if let Some((_, delay)) = cancel.take() {
                        self.cancel_later(job, delay * 3);
                    }
                }
                // Nothing to do for the machine: a look now and then, so that the processors are left to the daemons.
                _ => {
                    self.stage.sshd.world().keep_quorum();
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    async fn cancel(&mut self, job: &str) {
        let path = format!("/api/jobs/{job}/cancel");
        let reply = self.stage.daemon.ask("POST", &path, Some(&json!({}))).await;
        if reply.is_some_and(|r| r.status == 202)
            && let Some(arming) = self.ledger.arming()
        {
            arming.cancelled = true;
        }
    }

    fn cancel_later(&self, job: &str, delay: Duration) {
        let (daemon, path) = (Rc::clone(&self.stage.daemon), format!("/api/jobs/{job}/cancel"));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            daemon.ask("POST", &path, Some(&json!({}))).await;
        });
    }

    /// The machine is switched on and boots from the network; as far as it gets.
    async fn boot(&mut self) {
        let link = self.plan.link;
        self.moment(Moment::Offer);
        let n = self.address.rsplit('.').next().unwrap().parse().unwrap();
        let (air, mut dice) = (Rc::clone(&self.stage.air), self.dice.fork());
        if !air.is_offered(mac_bytes(n), link, &mut dice).await {
            return;
        }
        self.moment(Moment::Tftp);
        let name = if self.plan.big_tftp { "snponly.efi" } else { "autoexec.ipxe" };
        let link = if self.plan.big_tftp { Link { lost: 5, ..link } } else { link };
        self.plan.big_tftp = false;
        match air.tftp(name, link, &mut dice).await {
            Some(file) if name == "autoexec.ipxe" && !file.starts_with(b"#!ipxe") => {
                self.ledger.complain("autoexec.ipxe is damaged".to_owned());
            }
            Some(_) => {}
            None => return,
        }
        let Some(base) = self.script().await else { return };
        let Some(url) = self.files(&base).await else { return };
        if self.dice.percent(20) {
            self.stranger_asks(&url).await;
        }
        let Some(answer) = self.answer(&url).await else { return };
        self.install(&url, &answer).await;
    }

    async fn script(&mut self) -> Option<String> {
        let trouble = self.trouble(Moment::Script);
        let sent = self.ask_script(trouble).await;
        let text = sent.got?.text();
        let url = text.split_whitespace().find(|w| w.ends_with("/proxmox.iso"))?;
        let base = url.trim_end_matches("/proxmox.iso").to_owned();
        if let Some(arming) = self.ledger.arming() {
            arming.promised.push("pxe_booted");
        }
        Some(base)
    }

    async fn ask_script(&mut self, trouble: Trouble) -> Sent {
        let path = format!(
            "/ipxe/{}?uuid={}&serial=S1&vendor=QEMU&product=Lab%20PC&memory=16384&platform=efi",
            self.machine.mac.replace(':', "-"),
            self.machine.uuid
        );
        let late = self.answer_has_left();
        let sent =
            Request { method: "GET", path: &path, headers: &[], body: b"" }.send(trouble).await;
        for reply in &sent.left {
            let text = reply.text();
            if !text.contains(INSTALLER) {
                continue;
            }
            let token = text
                .split_whitespace()
                .find_map(|w| w.strip_suffix("/proxmox.iso"))
                .and_then(|base| base.rsplit('/').next())
                .unwrap_or_default()
                .to_owned();
            let Some(arming) = self.ledger.armings.last_mut() else { continue };
            if late {
                arming.granted_after.push("the installer's script".to_owned());
            }
            if arming.token.get_or_insert_with(|| token.clone()) != &token {
                arming.granted_after.push("a second token".to_owned());
            }
        }
        sent
    }

    fn answer_has_left(&self) -> bool {
        self.ledger.armings.last().is_some_and(|a| a.answers > 0)
    }

    /// Loads kernel, initrd and ISO; returns the answer's URL, as the live system finds it on the ISO.
    async fn files(&mut self, base: &str) -> Option<String> {
        let trouble = self.trouble(Moment::Files);
        let mut iso = Vec::new();
        for file in ["linux26", "initrd.img", "proxmox.iso"] {
            let path = format!("{base}/{file}");
            let request = Request { method: "GET", path: &path, headers: &[], body: b"" };
            let sent =
                request.send(if file == "initrd.img" { trouble } else { Trouble::None }).await;
            let reply = sent.got.filter(|r| r.status == 200)?;
            iso = reply.body;
        }
        find_url(&iso)
    }

    /// Another machine asks for this one's answer.
    async fn stranger_asks(&mut self, url: &str) {
        let mut facts = self.machine.facts();
        if self.dice.percent(50) {
            facts["network_interfaces"][0]["mac"] = json!("52:54:00:00:00:F9");
        } else {
            facts["dmi"]["system"]["uuid"] = json!("4c4c4544-0042-3010-8054-b5c04f4effff");
        }
        for reply in post_answer(url, &facts, Trouble::None).await.left {
            if reply.status == 200 {
                self.ledger.complain("a stranger got the answer".to_owned());
            }
        }
    }

    /// The installer asks for its answer, once.
    async fn answer(&mut self, url: &str) -> Option<toml::Table> {
        let trouble = self.trouble(Moment::Answer);
        let late = self.answer_has_left();
        let sent = post_answer(url, &self.machine.facts(), trouble).await;
        for reply in sent.left.iter().filter(|r| r.status == 200) {
            if let Err(problem) = names_one_disk(&reply.text()) {
                self.ledger.complain(problem);
            }
            if let Some(arming) = self.ledger.arming() {
                arming.answers += 1;
                arming.promised.push("installing");
                if late {
                    arming.granted_after.push("an answer".to_owned());
                }
            }
        }
        let reply = sent.got.filter(|r| r.status == 200)?;
        reply.text().parse().ok()
    }

    /// The installer writes the disk, the machine restarts, the new system calls back.
    async fn install(&mut self, url: &str, answer: &toml::Table) {
        let text = |section: &str, key: &str| {
            answer
                .get(section)
                .and_then(|s| s.get(key))
                .and_then(|v| v.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let webhook = text("post-installation-webhook", "url");
        let first_boot = text("first-boot", "url");
        let trouble = self.trouble(Moment::FirstBootScript);
        let request = Request { method: "GET", path: &first_boot, headers: &[], body: b"" };
        let script = request.send(trouble).await.got;
        if !script.is_some_and(|s| s.status == 200 && s.body.starts_with(b"#!/bin/sh")) {
            // The installer stops here, with an error on its screen.
            return;
        }
        let key = answer
            .get("global")
            .and_then(|g| g.get("root-ssh-keys"))
            .and_then(|k| k.get(0))
            .and_then(|k| k.as_str())
            .unwrap_or_default()
            .to_owned();
        let (private, public) = host_key();
        {
            let mut world = self.stage.sshd.world();
            world.install(&self.ledger.name, &self.address, &public, vec![key]);
            if let Some(machine) = world.machine(&self.address) {
                machine.die_at = self.plan.die_at.take();
                machine.pace = self.plan.pvecm;
            }
        }
        for (n, fault) in self.plan.at_connect.drain(..) {
            self.stage.sshd.plan_connect(&self.address, n, fault);
        }
        for (n, fault) in self.plan.at_exec.drain(..) {
            self.stage.sshd.plan_exec(&self.address, n, fault);
        }
        let (sshd, address, late) =
            (self.stage.sshd.clone(), self.address.clone(), self.plan.sshd_late);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(late).await;
            sshd.serve(&address, private).await;
        });
        let token = url.rsplit('/').next().unwrap_or_default().to_owned();
        self.installed = Some(Installed { token, webhook, host_key: public, webhook_sent: false });
        let times = match self.plan.webhook {
            Webhook::Once => 1,
            Webhook::Twice => 2,
            Webhook::Late | Webhook::Never => 0,
        };
        for _ in 0..times {
            self.report(true).await;
        }
        self.call_home().await;
    }

    async fn report(&mut self, before_the_call: bool) {
        let trouble = self.trouble(Moment::Webhook);
        let Some(installed) = &mut self.installed else { return };
        installed.webhook_sent = true;
        let keys = [installed.host_key.clone()];
        let body = self.machine.report_body(&self.address, &keys, 2000).to_string();
        let headers = [("content-type", "application/json; charset=utf-8")];
        let webhook = installed.webhook.clone();
        let request =
            Request { method: "POST", path: &webhook, headers: &headers, body: body.as_bytes() };
        let sent = request.send(trouble).await;
        if before_the_call
            && sent.left.iter().any(|r| r.status == 200)
            && let Some(arming) = self.ledger.arming()
        {
            arming.promised.push("installed");
        }
    }

    /// The installed system calls until it is heard, or told that nobody waits for it.
    async fn call_home(&mut self) {
        let Some(installed) = &self.installed else { return };
        let body = self
            .machine
            .phone_home_body(&self.address, std::slice::from_ref(&installed.host_key))
            .to_string();
        let bearer = format!("Bearer {}", installed.token);
        let path = format!("/api/hosts/{}/phone-home", self.ledger.id);
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        for _ in 0..20 {
            let trouble = self.trouble(Moment::PhoneHome);
            let request =
                Request { method: "POST", path: &path, headers: &headers, body: body.as_bytes() };
            let sent = request.send(trouble).await;
            if sent.left.iter().any(|r| r.status == 200)
                && let Some(arming) = self.ledger.arming()
            {
                arming.promised.push("first_boot");
            }
            match sent.got.map(|r| r.status) {
                Some(200) => {
                    if self.plan.webhook == Webhook::Late {
                        self.report(false).await;
                    }
                    return;
                }
                Some(400..500) => return,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn look_at_the_node(&mut self, job: &Value) {
        let world = self.stage.sshd.world();
        self.ledger.is_member = world.is_online_member(&self.ledger.name);
        let body = job["public_key"].as_str().and_then(|k| k.split(' ').nth(1)).unwrap_or("none");
        let left = world.places_of(body);
        drop(world);
        if !left.is_empty() {
            self.ledger.complain(format!("the ephemeral key is left at {left:?}"));
        }
        if !self.ledger.is_member {
            self.ledger.complain("it is ready and no member of the cluster".to_owned());
        }
    }

    /// The machine boots from the network again, by itself: nothing of an installer is for it any more.
    async fn probe(&mut self) {
        self.moment(Moment::End);
        self.ask_script(Trouble::None).await;
        let token = self.ledger.armings.last().and_then(|a| a.token.clone()).unwrap_or_default();
        let answers =
            post_answer(&format!("/api/boot/answer/{token}"), &self.machine.facts(), Trouble::None)
                .await;
        let iso = format!("/boot/{token}/proxmox.iso");
        let files = Request { method: "GET", path: &iso, headers: &[], body: b"" }
            .send(Trouble::None)
            .await;
        for reply in answers.left.iter().chain(&files.left) {
            if reply.status == 200
                && let Some(arming) = self.ledger.arming()
            {
                arming.granted_after.push("an answer or a boot file".to_owned());
            }
        }
    }
}

/// The answer's URL in the text of the ISO's mode file.
fn find_url(iso: &[u8]) -> Option<String> {
    let sign = b"/api/boot/answer/";
    let at = iso.windows(sign.len()).position(|w| w == sign)?;
    let rest = &iso[at..];
    let end = rest.iter().position(|b| *b == b'"')?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

async fn post_answer(url: &str, facts: &Value, trouble: Trouble) -> Sent {
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("accept", "application/toml"),
        ("user-agent", "ureq/3.0.12"),
    ];
    let body = facts.to_string();
    Request { method: "POST", path: url, headers: &headers, body: body.as_bytes() }
        .send(trouble)
        .await
}

/// An answer may erase the one disk that the server type names, and nothing that could match another.
fn names_one_disk(answer: &str) -> Result<(), String> {
    let answer: toml::Table = answer.parse().map_err(|e| format!("an answer is no TOML: {e}"))?;
    let disks = answer.get("disk-setup").and_then(toml::Value::as_table);
    let filter = disks.and_then(|d| d.get("filter")).and_then(toml::Value::as_table);
    let wanted = toml::Value::String("DISK1".to_owned());
    let is_one = filter.is_some_and(|f| f.len() == 1 && f.get("ID_SERIAL_SHORT") == Some(&wanted));
    let lists = disks.is_some_and(|d| d.contains_key("disk-list") || d.contains_key("disk_list"));
    if is_one && !lists {
        Ok(())
    } else {
        Err(format!("an answer could erase other disks: {disks:?}"))
    }
}
