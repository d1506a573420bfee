//! What a command line does to a machine of the world. A command that is not known fails as a missing program does, so that
//! a change of the join's programs is seen here.

use super::world::{Attempt, Done, Kind, World};

/// Takes a POSIX command line of quoted words apart.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                for c in chars.by_ref().take_while(|c| *c != '\'') {
                    word.push(c);
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.take());
    words
}

/// Runs a command on the machine with this address.
pub(crate) fn run(world: &mut World, address: &str, line: &str, stdin: &str) -> Done {
    world.tick();
    let argv = words(line);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    match argv.as_slice() {
        ["sh", "-c", _, name, arguments @ ..] => {
            let Some(program) = name.strip_prefix("ironhatch-") else {
                return Done::fail(127, &format!("sh: {name}: not found"));
            };
            let first = arguments.first().copied().unwrap_or_default();
            let second = arguments.get(1).copied().unwrap_or_default();
            script(world, address, program, (first, second, arguments.get(2).copied()), stdin)
        }
        ["cat", "/root/.ssh/id_rsa.pub"] => Done::say(world.node_key(address) + "\n"),
        ["cat", "/etc/ssh/ssh_host_ed25519_key.pub", ..] => {
            let key = world.machine(address).map(|m| m.host_key.clone()).unwrap_or_default();
            Done::say(key + " root@host\n")
        }
        ["cat", "/etc/pve/corosync.conf"] => match world.conf(address) {
            Some(text) => Done::say(text),
            None => Done::fail(1, "cat: /etc/pve/corosync.conf: No such file or directory"),
        },
        ["pvecm", "status"] => match world.status(address) {
            Some(text) => Done::say(text),
            None => Done::fail(2, "Error: Corosync config '/etc/pve/corosync.conf' does not exist"),
        },
        ["pvecm", "expected", votes] => world.expect_votes(votes.parse().unwrap()),
        ["pvecm", "delnode", name] => world.remove_node(name),
        _ => Done::fail(127, &format!("{}: not found", argv.first().unwrap_or(&""))),
    }
}

fn script(
    world: &mut World,
    address: &str,
    program: &str,
    (first, second, third): (&str, &str, Option<&str>),
    stdin: &str,
) -> Done {
    match program {
        "look-node" => Done::say(look_node(world, address)),
        "look-member" => Done::say(look_member(world, address)),
        "look-membership" => {
            let mut out = prefixed("status", world.status(address));
            out += &prefixed("present", Some(world.present(address)));
            if world.certificate(address) {
                out += "certificate=yes\n";
            }
            Done::say(out)
        }
        "own-key" => own_key(world, address, first, stdin),
        "shared-keys" => shared_keys(world, address, first, stdin),
        "known-hosts" => known_hosts(world, address, first),
        "start" => {
            let kind = match first {
                "add" => Kind::Add { member: second.to_owned() },
                _ => Kind::Create { cluster: second.to_owned() },
            };
            world.start(address, kind)
        }
        "poll" => Done::say(attempt(world, address)),
        "stop" => {
            let machine = world.machine(address).unwrap();
            if matches!(machine.attempt, Attempt::Running { .. }) {
                machine.attempt = Attempt::Killed { log: Vec::new() };
            }
            Done::default()
        }
        "start-file-system" => {
            world.machine(address).unwrap().mounted = true;
            world.link_keys(address);
            Done::default()
        }
        "stand-alone" => {
            world.stand_alone(address);
            Done::default()
        }
        "drop-key-file" => {
            let machine = world.machine(address).unwrap();
            machine.authkey = false;
            machine.attempt = Attempt::None;
            Done::default()
        }
        "finish-member" => {
            world.finish_member(address);
            Done::default()
        }
        "clean-up" => clean_up(world, address, first, second),
        "check" => Done::say(check(world, address, first, second)),
        "hop" => {
            let reached = world.machine(first).is_some();
            match third {
                Some(line) if reached => run(world, first, line, ""),
                _ => Done::fail(255, "ssh: connect to host: No route to host"),
            }
        }
        _ => Done::fail(127, &format!("sh: {program}: not found")),
    }
}

fn prefixed(key: &str, text: Option<String>) -> String {
    text.unwrap_or_default().lines().map(|line| format!("{key}={line}\n")).collect()
}

fn epoch() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn attempt(world: &mut World, address: &str) -> String {
    let (state, log) = match &world.machine(address).unwrap().attempt {
        Attempt::None => return String::new(),
        Attempt::Running { .. } => ("attempt=running\n".to_owned(), Vec::new()),
        Attempt::Ended { log, status } => (format!("attempt=ended\nrc={status}\n"), log.clone()),
        Attempt::Killed { log } => ("attempt=killed\n".to_owned(), log.clone()),
    };
    log.iter().fold(state, |text, line| text + "log=" + line + "\n")
}

fn look_node(world: &mut World, address: &str) -> String {
    let conf = world.conf(address);
    let certificate = world.certificate(address);
    let machine = world.machine(address).unwrap();
    let mut out = format!("hostname={}\naddress={address}\n", machine.name);
    for (is, line) in [
        (machine.mounted, "mounted=yes\n"),
        (machine.authkey, "authkey=yes\n"),
        (certificate, "certificate=yes\n"),
        (conf.is_some(), "conf=yes\n"),
    ] {
        if is {
            out += line;
        }
    }
    out += &prefixed("corosync", conf);
    out += &attempt(world, address);
    out + &format!("version=pve-manager/9.2.11/14a22df35955d97d\nepoch={}\n", epoch())
}

fn look_member(world: &World, address: &str) -> String {
    let mut out = prefixed("status", world.status(address));
    out += &prefixed("present", Some(world.present(address)));
    out += &prefixed("view", world.view(address));
    out += &prefixed("corosync", world.conf(address));
    for name in world.finished() {
        out += &format!("finished={name}\n");
    }
    out + &format!("version=pve-manager/9.2.11/14a22df35955d97d\nepoch={}\n", epoch())
}

fn own_key(world: &mut World, address: &str, body: &str, stdin: &str) -> Done {
    let machine = world.machine(address).unwrap();
    if !machine.second_keys.iter().any(|l| l.contains(body)) {
        machine.second_keys.push(stdin.trim().to_owned());
    }
    if let Some(lines) = machine.plain_keys.take() {
        machine.second_keys.extend(lines.into_iter().filter(|l| !l.contains(body)));
    }
    world.link_keys(address);
    Done::say("linked=yes\nnodekey=yes\nkeyfiles=.ssh/authorized_keys .ssh/authorized_keys2\n")
}

fn shared_keys(world: &mut World, address: &str, stale: &str, stdin: &str) -> Done {
    let Some(shared) = world.shared_mut(address) else {
        return Done::fail(1, "/etc/pve is not mounted");
    };
    if !stale.is_empty() {
        let comment = format!(" root@{stale}");
        shared.retain(|line| !line.ends_with(&comment));
    }
    for line in stdin.lines().filter(|l| !l.is_empty()) {
        if !shared.iter().any(|l| l == line) {
            shared.push(line.to_owned());
        }
    }
    Done::say("written=yes\n")
}

fn known_hosts(world: &mut World, address: &str, member: &str) -> Done {
    let own = world.node_key(address);
    let reached = world.machine(member).is_some_and(|m| m.online);
    let accepted = world.shared_mut(member).is_some_and(|shared| shared.contains(&own));
    let mut done = Done::say("node=1\n");
    if reached && accepted {
        done.stdout += "member=1\n";
    } else {
        done.stderr = format!("root@{member}: Permission denied (publickey).\n");
    }
    done
}

fn clean_up(world: &mut World, address: &str, body: &str, place: &str) -> Done {
    if let Some(shared) = world.shared_mut(address) {
        shared.retain(|l| !l.contains(body));
    }
    let machine = world.machine(address).unwrap();
    if let Some(lines) = &mut machine.plain_keys {
        lines.retain(|l| !l.contains(body));
    }
    if place == "node" {
        machine.attempt = Attempt::None;
    }
    machine.second_keys.retain(|l| !l.contains(body));
    Done::default()
}

fn check(world: &mut World, address: &str, body: &str, _place: &str) -> String {
    let mut out = String::new();
    let mounted = world.machine(address).unwrap().mounted;
    let shared: Vec<String> = world.shared_mut(address).map(|s| s.clone()).unwrap_or_default();
    let machine = world.machine(address).unwrap();
    let plain = machine.plain_keys.clone().unwrap_or_default();
    let second = machine.second_keys.clone();
    for (path, lines) in [
        ("/etc/pve/priv/authorized_keys", shared),
        ("/root/.ssh/authorized_keys", plain),
        ("/root/.ssh/authorized_keys2", second),
    ] {
        let count = lines.iter().filter(|l| l.contains(body)).count();
        out += &format!("count={count} {path}\n");
        if count > 0 {
            out += &format!("left={path}\n");
        }
    }
    out + if mounted { "checked=yes\n" } else { "checked=no\n" }
}
