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
    for line in ["serve", "check", "db restore x", "db dump", "db verify x"] {
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
