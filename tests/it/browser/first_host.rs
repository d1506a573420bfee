//! From nothing to the first ready host, as `docs/first-host.md` tells it: `ironhatch setup` on a terminal, the daemon that
//! reads what it wrote, a browser, and a machine at the other end of a wire. Nothing is typed but what is asked, and what is
//! asked stands in the document.

use std::path::Path;
use std::time::{Duration, Instant};

use fantoccini::{Client, Locator};
use ironhatch::fakes::firmware::Taken;

use super::{Screen, accessible, browser, see};
use crate::boot_problems::client::{Client as Firmware, Kind};
use crate::join::lab::{Lab, Node, story as in_namespace};
use crate::setup::{ENTER, Terminal, dnsmasq, folder};
use crate::support::daemon::Daemon;
use crate::support::machine::{self, Installed, Machine};
use crate::support::wire::{US, Wire};

/// What `setup` asks, in order; each time what it proposes is taken.
const QUESTIONS: [&str; 13] = [
    "On which interface are the machines?",
    "How are they answered?",
    "How do machines reach this appliance?",
    "Serve answers and call-backs over HTTPS",
    "SSH keys that open fresh nodes as root",
    "Another public key",
    "Root password of fresh nodes?",
    "Which cluster do hosts join?",
    "Its name",
    "Name of the first server type",
    "What they are, for people",
    "Which disk of such a host may be erased?",
    "Proxmox VE image",
];

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";

/// A browser that does what the document says.
struct Reader {
    client: Client,
    text: String,
}

impl Reader {
    /// Follows the link or presses the button with this text.
    async fn press(&self, label: &str) {
        assert!(self.text.contains(&format!("**{label}**")), "the document names no {label}");
        let path = format!(
            "//main//*[self::a or self::button][normalize-space()='{label}'] | //nav//a[starts-with(normalize-space(),'{label}')]"
        );
        let begun = Instant::now();
        loop {
            let wait = self.client.wait().at_most(PATIENCE);
            let found = wait.for_element(Locator::XPath(&path)).await;
            let found = found.unwrap_or_else(|e| panic!("{label}: {e}"));
            // A page that follows what happens may have put a newer one in its place meanwhile.
            match found.click().await {
                Ok(()) => return,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{label}: {error}"),
            }
        }
    }

    async fn types(&self, field: &str, text: &str) {
        let begun = Instant::now();
        while let Err(error) = see(&self.client, field).await.send_keys(text).await {
            assert!(begun.elapsed() < PATIENCE, "{field}: {error}");
        }
    }

    /// Waits until the page shows this by itself.
    async fn watches_for(&self, css: &str) {
        let wait = self.client.wait().at_most(Duration::from_secs(90));
        if let Err(error) = wait.for_element(Locator::Css(css)).await {
            panic!("{css}: {error}\n{}", self.client.source().await.unwrap());
        }
    }

    /// The picture of this name in the document.
    async fn shows(&self, name: &str) {
        assert!(self.text.contains(&format!("(first-host/{name}.webp)")), "{name} is not shown");
        accessible::small_picture(&self.client, name).await;
    }
}

/// Answers `setup` on a terminal.
fn set_up(dir: &Path, text: &str) {
    let mut terminal = Terminal::start(dir);
    for question in QUESTIONS {
        assert!(text.contains(question), "the document does not tell of '{question}'");
        terminal.until(question).press(ENTER);
    }
    terminal.until("Write this?").press(ENTER);
    terminal.until("its log shows the link that sets your password");
    assert_eq!(terminal.end(), 0);
    // Where the test has a place of its own.
    let file = dir.join("ironhatch.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let place = dir.join("data").display().to_string();
    std::fs::write(&file, written.replace("/var/lib/ironhatch", &place)).unwrap();
}

/// Does something as the machine, on its side of the wire.
fn at_the_machine<T: Send + 'static>(
    wire: &Wire,
    does: impl FnOnce(&Machine) -> T + Send + 'static,
) -> T {
    let server = format!("http://{US}:8080");
    wire.inside(move || does(&Machine { server, ..Machine::new(1) }))
}

/// The firmware finds its boot program and loads it; iPXE runs.
fn boots_from_the_network(firmware: &mut Firmware<'_>) {
    assert_eq!(firmware.discovers(), Taken::Asks(US));
    assert_eq!(firmware.asks_4011(), Taken::Loads(US, "snponly.efi".into()));
    assert!(!firmware.loads("snponly.efi").unwrap().is_empty());
}

/// Kernel, initrd and ISO are loaded, and the installer takes its answer.
fn installs(wire: &Wire, dir: &Path) -> Installed {
    let work = dir.to_owned();
    at_the_machine(wire, move |machine| {
        machine.boot(&work);
        let url = machine.answer_url(&work);
        assert!(url.starts_with("https://"), "{url}");
        machine.install(&url)
    })
}

/// The installer reports its end, and what it installed runs and calls back.
fn starts_from_its_disk(lab: &Lab, wire: &Wire, taken: Installed, id: String) -> Node {
    let keys = taken.answer["global"]["root-ssh-keys"].as_array().unwrap();
    let node = lab.installed("pve1", 11, keys[0].as_str().unwrap());
    let keys = node.host_keys();
    at_the_machine(wire, move |machine| {
        assert_eq!(machine.report(&taken, "192.0.2.11", &keys).status, 200);
        assert_eq!(machine.phone_home(&id, &taken.token, "192.0.2.11", &keys).status, 200);
    });
    node
}

#[test]
fn somebody_new_comes_from_setup_to_a_ready_host_and_types_what_is_asked() {
    in_namespace(async |lab| {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/first-host.md");
        let text = std::fs::read_to_string(document).unwrap();
        let wire = Wire::plug();
        let _lan = dnsmasq(&wire);
        let (dir, profile) = (folder(), tempfile::tempdir().unwrap());
        let image = machine::iso(dir.path());
        set_up(dir.path(), &text);
        let daemon = Daemon::start_configured(dir.path());

        let (mut driver, client) = browser(&profile, Screen::Desk).await;
        client.set_window_size(1000, 760).await.unwrap();
        let reader = Reader { client: client.clone(), text };
        client.goto(&daemon.setup_link()).await.unwrap();
        for field in ["#password", "#repeated"] {
            reader.types(field, PASSWORD).await;
        }
        reader.press("Set password and log in").await;
        see(&client, ".empty a[href='/images']").await;
        reader.shows("empty").await;

        reader.press("Import a Proxmox VE image").await;
        reader.types("#source", image.to_str().unwrap()).await;
        reader.press("Import").await;
        reader.watches_for("#images .facts").await;
        reader.press("Hosts").await;
        see(&client, "html[data-live=yes]").await;

        // The machine is switched on: it shows up, and nobody loaded the page again.
        let mut firmware = Firmware::new(&wire, 1, Kind::Uefi);
        boots_from_the_network(&mut firmware);
        let notice = at_the_machine(&wire, |machine| machine.script().text());
        assert!(notice.contains("is not registered"), "{notice}");
        reader.watches_for(".teaser a[href='/hosts/new?mac=52:54:00:00:00:01']").await;
        reader.shows("heard").await;

        reader.press("Register").await;
        see(&client, "#hostname").await;
        let disk = see(&client, "#disk_by").await;
        disk.select_by_value("devices").await.unwrap();
        reader.types("#disk_value", "sda").await;
        reader.shows("register").await;
        reader.press("Register").await;
        see(&client, "#rebuild").await;
        let id = client.current_url().await.unwrap();
        let id = id.path_segments().unwrap().next_back().unwrap().to_owned();
        assert_eq!(client.title().await.unwrap(), "pve1 · Ironhatch", "a name is proposed");

        reader.types("#confirm", "pve1").await;
        let script = "document.getElementById('rebuild').scrollIntoView()";
        client.execute(script, vec![]).await.unwrap();
        reader.shows("rebuild").await;
        reader.press("Erase and rebuild").await;
        see(&client, "#job[data-job-open=true]").await;
        reader.press("pve1").await;
        see(&client, "html[data-live=yes]").await;
        reader.watches_for("#status .badge[data-state=pxe_ready]").await;

        // It is switched off and on again.
        boots_from_the_network(&mut firmware);
        let taken = installs(&wire, dir.path());
        reader.watches_for("#status .badge[data-state=installing]").await;
        client.execute("scrollTo(0, 0)", vec![]).await.unwrap();
        reader.shows("installing").await;
        let node = starts_from_its_disk(&lab, &wire, taken, id);
        reader.watches_for("#status .badge[data-state=ready]").await;
        reader.shows("ready").await;
        assert!(node.sh("pvecm status").contains("Quorate:          Yes"));
        reader.press("Hosts").await;
        see(&client, ".tile[data-state=ready]").await;
        client.close().await.unwrap();
        driver.kill().await.unwrap();
    });
}
