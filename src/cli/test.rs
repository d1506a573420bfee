use clap::CommandFactory as _;
use hyper::Method;
use serde_json::json;

use super::call::call;
use super::client::ClientError;
use super::*;

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn adding_a_host_sends_its_disk_and_network() {
    let cli = parse(
        "ironhatch host add --name pve-a --mac 52:54:00:aa:bb:01 --type lab --disk-serial S1 \
         --address 192.0.2.21/24 --gateway 192.0.2.1 --dns 192.0.2.1 --json",
    );
    assert!(cli.reach.json && cli.command.is_client());
    let call = call(&cli.command).unwrap();
    assert_eq!((call.method, call.path.as_str()), (Method::POST, "/api/hosts"));
    assert_eq!(
        call.body.unwrap(),
        json!({
            "hostname": "pve-a", "macs": ["52:54:00:aa:bb:01"], "server_type": "lab",
            "boot_disk": {"by": "property", "property": "ID_SERIAL_SHORT", "value": "S1"},
            "network": {"cidr": "192.0.2.21/24", "gateway": "192.0.2.1", "dns": "192.0.2.1"},
        })
    );
}

#[test]
fn half_a_network_is_a_usage_error() {
    let line =
        "ironhatch host add --name a1 --mac 52:54:00:aa:bb:01 --type lab --address 192.0.2.21/24";
    assert!(Cli::try_parse_from(line.split_whitespace()).is_err());
}

#[test]
fn a_rebuild_needs_the_name_typed_again() {
    assert!(Cli::try_parse_from(["ironhatch", "host", "rebuild", "pve1"]).is_err());
    let cli = parse("ironhatch host rebuild pve1 --image i-1 --confirm pve1 --replace-node --wait");
    let call = call(&cli.command).unwrap();
    assert_eq!(call.path, "/api/hosts/pve1/rebuild");
    let body = json!({ "image": "i-1", "confirm": "pve1", "replace_node": true });
    assert_eq!(call.body, Some(body));
}

#[test]
fn many_hosts_are_looked_at_first_and_never_meant_by_leaving_something_out() {
    for bad in [
        "ironhatch host rebuild-many",
        "ironhatch host rebuild-many --state failed",
        "ironhatch host rebuild-many pve1 --all-matching",
        "ironhatch host rebuild-many --all-matching --reviewed 3f9c",
        "ironhatch host rebuild-many --all-matching --confirm yes",
    ] {
        assert!(Cli::try_parse_from(bad.split_whitespace()).is_err(), "{bad}");
    }
    let named = parse("ironhatch host rebuild-many pve1 --state failed");
    assert!(matches!(call(&named.command), Err(ClientError::Usage(_))));
    let line = "ironhatch host rebuild-many --all-matching --state failed --type lab";
    let look = call(&parse(line).command).unwrap();
    assert_eq!(look.path, "/api/bulk-rebuilds/review");
    let matching = json!({ "state": "failed", "type": "lab", "problem": false, "q": "" });
    let mut body = json!({ "image": null, "replace_node": false, "matching": matching });
    assert_eq!(look.body.unwrap(), body);
    let line = format!("{line} --reviewed 3f9c --confirm phrase --at-once 2 --wait");
    let begin = call(&parse(&line).command).unwrap();
    assert_eq!(begin.path, "/api/bulk-rebuilds");
    for (name, value) in [("reviewed", "3f9c"), ("confirm", "phrase")] {
        body[name] = json!(value);
    }
    body["at_once"] = json!(2);
    assert_eq!(begin.body.unwrap(), body);
}

#[test]
fn the_list_of_hosts_is_filtered() {
    let asked = |line: &str| call(&parse(line).command).unwrap().path;
    assert_eq!(asked("ironhatch host list"), "/api/hosts");
    let line = "ironhatch host list --state failed --type lab --problem --search a&b";
    assert_eq!(asked(line), "/api/hosts?state=failed&type=lab&problem=yes&q=a%26b");
}

#[test]
fn the_story_of_a_boot_is_asked_for_by_name_or_address() {
    let host = parse("ironhatch host boot pve1");
    let asked = call(&host.command).unwrap();
    assert_eq!((asked.method, asked.path.as_str()), (Method::GET, "/api/hosts/pve1/boot"));
    let sighting = parse("ironhatch sighting boot 52:54:00:aa:bb:01");
    let path = call(&sighting.command).unwrap().path;
    assert_eq!(path, "/api/sightings/52%3A54%3A00%3Aaa%3Abb%3A01/boot");
}

#[test]
fn power_is_asked_for_with_the_name_where_it_is_typed() {
    for (line, action, confirm) in [
        ("status pve1", "look", ""),
        ("on pve1", "on", ""),
        ("off pve1 --confirm pve1", "off", "pve1"),
        ("cycle pve1", "cycle", ""),
    ] {
        let asked = call(&parse(&format!("ironhatch host power {line}")).command).unwrap();
        assert_eq!((asked.method, asked.path.as_str()), (Method::POST, "/api/hosts/pve1/power"));
        assert_eq!(asked.body, Some(json!({ "action": action, "confirm": confirm })));
    }
    let cli = parse(
        "ironhatch host power set pve1 --by redfish --address 192.0.2.60 --user admin --boot yes",
    );
    let asked = call(&cli.command).unwrap();
    assert_eq!(asked.method, Method::PUT);
    let body =
        json!({ "method": "redfish", "address": "192.0.2.60", "user": "admin", "boot": "yes" });
    assert_eq!(asked.body, Some(body));
    let no_password_in_arguments = "ironhatch host power set pve1 --by ipmi --password x";
    assert!(Cli::try_parse_from(no_password_in_arguments.split_whitespace()).is_err());
}

#[test]
fn a_file_of_hosts_is_sent_in_the_form_that_its_ending_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hosts.CSV");
    std::fs::write(&file, "hostname\n").unwrap();
    let import = |more: &str| {
        call(&parse(&format!("ironhatch host import {}{more}", file.display())).command)
    };
    let body = json!({ "format": "csv", "text": "hostname\n", "dry_run": true });
    assert_eq!(import(" --dry-run").unwrap().body, Some(body));
    assert_eq!(import(" --format toml").unwrap().body.unwrap()["format"], "toml");
    let other = dir.path().join("hosts.txt");
    std::fs::rename(&file, &other).unwrap();
    let asked = call(&parse(&format!("ironhatch host import {}", other.display())).command);
    assert!(matches!(asked, Err(ClientError::Usage(_))));
    let asked = call(&parse("ironhatch host export --format toml").command).unwrap();
    assert_eq!(asked.path, "/api/host-file?format=toml");
}

#[test]
fn answers_and_server_types_are_asked_for_by_name() {
    let asked = call(&parse("ironhatch host answer pve1 --image i-1 --text").command).unwrap();
    assert_eq!(
        (asked.method, asked.path.as_str()),
        (Method::GET, "/api/hosts/pve1/answer?image=i-1")
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lab.toml");
    std::fs::write(&file, "x").unwrap();
    for (line, method, path, body) in [
        ("list".to_owned(), Method::GET, "/api/server-types", None),
        ("show lab".to_owned(), Method::GET, "/api/server-types/lab", None),
        (
            format!("try ../x {} --host pve1", file.display()),
            Method::POST,
            "/api/server-types/..%2Fx/preview",
            Some(json!({ "text": "x", "host": "pve1" })),
        ),
        (
            format!("put lab {} --replaces abc", file.display()),
            Method::PUT,
            "/api/server-types/lab",
            Some(json!({ "text": "x", "replaces": "abc" })),
        ),
        ("delete lab".to_owned(), Method::DELETE, "/api/server-types/lab", None),
    ] {
        let asked = call(&parse(&format!("ironhatch server-type {line}")).command).unwrap();
        assert_eq!((asked.method, asked.path.as_str(), asked.body), (method, path, body), "{line}");
    }
    let missing = parse("ironhatch server-type put lab /nowhere/lab.toml");
    assert!(matches!(call(&missing.command), Err(ClientError::Usage(_))));
}

#[test]
fn names_cannot_leave_their_path_segment() {
    let cli = parse("ironhatch host show ../jobs?x=1");
    assert_eq!(call(&cli.command).unwrap().path, "/api/hosts/..%2Fjobs%3Fx%3D1");
}

#[test]
fn an_edit_tells_removal_from_leaving() {
    let cli = parse("ironhatch host edit pve1 --no-disk");
    assert_eq!(call(&cli.command).unwrap().body, Some(json!({ "boot_disk": null })));
    let cli = parse("ironhatch host edit pve1");
    assert!(matches!(call(&cli.command), Err(ClientError::Usage(_))));
}

#[test]
fn offline_commands_are_not_the_clients() {
    for line in ["serve", "check", "db restore x", "db dump", "db list", "db verify x"] {
        assert!(!parse(&format!("ironhatch {line}")).command.is_client(), "{line}");
    }
    assert!(parse("ironhatch db backup x").command.is_client());
}

#[test]
fn exit_codes_follow_the_refusal() {
    let refused = |status| ClientError::Refused {
        status,
        detail: String::new(),
        hint: String::new(),
        problem: json!(null),
    };
    assert_eq!(refused(409).exit_code(), exit::REFUSED);
    assert_eq!(refused(404).exit_code(), exit::NOT_FOUND);
    assert_eq!(refused(500).exit_code(), exit::FAILED);
}

#[test]
fn tables_are_aligned_and_keep_control_characters_from_the_terminal() {
    let rows = [json!({"a": "x\u{1b}[2J", "b": null}), json!({"a": "longer name", "b": 3})];
    let shown = print::table(&rows, &[("A", "a"), ("B", "b")]);
    assert_eq!(shown, "A            B\nx [2J        -\nlonger name  3\n");
}

#[tokio::test]
async fn an_appliance_that_does_not_run_is_told_by_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let client = client::Client::connect(&Reach::default(), dir.path()).await.unwrap();
    let error = client.get("/api/health").await.unwrap_err();
    assert_eq!(error.exit_code(), exit::UNREACHABLE);
    assert!(error.to_string().contains("control.sock"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_over_the_control_socket() {
    let scene = crate::web::test::scene::Scene::fleet();
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
    let router = scene.router.clone().layer(axum::Extension(crate::web::ControlSocket));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let client = client::Client::connect(&Reach::default(), dir.path()).await.unwrap();

    let hosts = client.get("/api/hosts").await.unwrap();
    assert_eq!(hosts["hosts"][1]["state"], "installing");
    let code = command::run(&client, true, &parse("ironhatch host list").command).await;
    assert_eq!(code.unwrap(), exit::OK);
    let rebuild = parse("ironhatch host rebuild pve4 --confirm pve4").command;
    assert_eq!(command::run(&client, true, &rebuild).await.unwrap(), exit::OK);
    assert_eq!(*scene.asked.asked.lock().unwrap(), ["rebuild pve4 false"]);
    let nobody = parse("ironhatch host show nobody").command;
    let error = command::run(&client, true, &nobody).await.unwrap_err();
    assert_eq!(error.exit_code(), exit::NOT_FOUND);

    // A job that is over is followed to its end at once.
    let done = crate::web::test::scene::job_id(1);
    let follow = parse(&format!("ironhatch job follow {done}")).command;
    assert_eq!(command::run(&client, true, &follow).await.unwrap(), exit::OK);
    serving.abort();
}

#[test]
fn an_installation_is_the_same_form_as_in_the_browser() {
    let cli = parse(
        "ironhatch app install static-website club --set title=Club --node pve1 --memory-mb 1024 \
         --field expose=public --field domain=club.example.net --review",
    );
    let call = call(&cli.command).unwrap();
    assert_eq!((call.method, call.path.as_str()), (Method::POST, "/api/install/review"));
    assert_eq!(
        call.body.unwrap(),
        json!({
            "app": "static-website", "name": "club", "node": "pve1", "memory_mb": 1024,
            "expose": "public", "domain": "club.example.net", "input.title": "Club",
        })
    );
}

#[test]
fn a_secret_comes_from_a_file_and_a_slip_does_not_print_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let line = format!("ironhatch app install n8n flows --set-file key={}", path.display());
    let sent = call(&parse(&line).command).unwrap().body.unwrap();
    assert_eq!(sent["input.key"], "hunter2");
    let slip = call(&parse("ironhatch app install n8n flows --set =hunter2").command).unwrap_err();
    assert!(!slip.to_string().contains("hunter2"), "{slip}");
}

#[test]
fn what_destroys_needs_the_name_typed_again() {
    for line in ["guest uninstall web1", "guest restore web1 archive", "guest adopt web1"] {
        let words = std::iter::once("ironhatch").chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
    let cli = parse("ironhatch guest uninstall web1 --confirm web1 --keep-volumes");
    let call = call(&cli.command).unwrap();
    assert_eq!(call.path, "/api/uninstall");
    let body = json!({ "guest": "web1", "keep_volumes": true, "confirm": "web1" });
    assert_eq!(call.body, Some(body));
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_worked_on_over_the_control_socket() {
    let scene = crate::web::test::guest_scene::GuestScene::fleet();
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
    let router = scene.router.clone().layer(axum::Extension(crate::web::ControlSocket));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let client = client::Client::connect(&Reach::default(), dir.path()).await.unwrap();
    for line in [
        "app list video",
        "app show redis",
        "app refresh lab",
        "app install redis cache1 --review",
        "app install redis cache1",
        "guest list --state failed",
        "guest show web101",
        "guest vitals web101",
        "guest start web101",
        "guest shutdown web101",
        "guest stop web101",
        "guest restart web101",
        "guest upgrade web101",
        "guest return web101",
        "guest backup web101 --storage backup",
        "guest logs web101 --lines 5 --unit nginx",
        "guest backups web101",
        "guest restore web101 a --confirm web101",
        "guest reconfigure web101 --set title=x --field cores=2",
        "guest uninstall web101 --confirm web101",
        "guest observe pve1 105",
        "guest adopt web104 --confirm web104",
        "guest forget web104",
        "guest reveal web101 token",
        "guest retry web103",
        "guest publish web101",
        "node list",
        "node enroll-command",
        "node revoke pve2",
        "node prometheus-token",
        "system discovery",
        "job list --kind install --status failed",
    ] {
        let command = parse(&format!("ironhatch {line}")).command;
        assert!(command.is_client(), "{line}");
        for json in [false, true] {
            let code = command::run(&client, json, &command).await;
            assert_eq!(code.unwrap(), exit::OK, "{line}");
        }
    }
    let nobody = parse("ironhatch guest show nobody").command;
    let error = command::run(&client, true, &nobody).await.unwrap_err();
    assert_eq!(error.exit_code(), exit::NOT_FOUND);
    let done = crate::web::test::scene::job_id(11);
    let follow = parse(&format!("ironhatch job follow {done}")).command;
    assert_eq!(command::run(&client, true, &follow).await.unwrap(), exit::OK);
    serving.abort();
}

/// Help of a command and of all below it.
fn help_texts(command: &clap::Command, into: &mut Vec<String>) {
    into.extend(command.get_after_help().map(ToString::to_string));
    for below in command.get_subcommands() {
        help_texts(below, into);
    }
}

#[test]
fn examples_of_installations_name_apps_and_inputs_that_exist() {
    let mut texts = Vec::new();
    help_texts(&Cli::command(), &mut texts);
    texts.push(include_str!("../../docs/using-apps.md").to_owned());
    texts.push(include_str!("../../README.md").to_owned());
    let mut seen = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some((_, rest)) = line.split_once("app install ") else { continue };
        let id = rest.split_whitespace().next().unwrap();
        if !id.starts_with(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps");
        let manifest = std::fs::read_to_string(apps.join(id).join("app.toml"))
            .unwrap_or_else(|e| panic!("{line}: {e}"));
        for part in rest.split("--set").skip(1) {
            let key = part.trim_start_matches("-file").trim().split('=').next().unwrap();
            let declared = format!("key = \"{key}\"");
            assert!(manifest.contains(&declared), "{line}: {id} has no input '{key}'");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} examples were found");
}
