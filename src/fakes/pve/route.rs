//! Which call a request is, whether the token may make it, and what the schema says about its parameters; in the order in
//! which the cluster looks at these things.

use std::collections::BTreeMap;

use super::access::Access;
use super::format::Place;
use super::schema::Verdict;
use super::world::{
    Outcome, Refusal, Request, World, denied, forbidden, invalid, invalid_all, refuse,
};
use super::{calls, create, guest, power, task};

/// Privileges that a call needs before its parameters are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// A valid token; the call itself looks at more.
    Token,
    /// One of these on this path, which may name variables.
    Any(&'static str, &'static [&'static str]),
}

/// One call of the API.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) pattern: &'static str,
    pub(super) need: Need,
    pub(super) call: fn(&mut World, &Request) -> Outcome,
}

const GUEST: &str = "/vms/{vmid}";

const fn route(
    method: &'static str,
    pattern: &'static str,
    need: Need,
    call: fn(&mut World, &Request) -> Outcome,
) -> Route {
    Route { method, pattern, need, call }
}

/// Every call that the double knows. A longer pattern without variables stands before one with them.
pub(super) const ROUTES: &[Route] = &[
    route("GET", "/version", Need::Token, calls::version),
    route("GET", "/nodes", Need::Token, calls::nodes),
    route("GET", "/access/permissions", Need::Token, calls::permissions),
    route("GET", "/cluster/resources", Need::Token, calls::resources),
    route("GET", "/cluster/status", Need::Any("/", &["Sys.Audit"]), calls::status),
    route("GET", "/nodes/{node}/version", Need::Token, calls::version),
    route("GET", "/nodes/{node}/time", Need::Any("/nodes/{node}", &["Sys.Audit"]), calls::time),
    route("GET", "/cluster/nextid", Need::Token, calls::nextid),
    route("GET", "/pools", Need::Token, calls::pools),
    route("PUT", "/pools", Need::Any("/pool/{poolid}", &["Pool.Allocate"]), calls::set_pool),
    route("GET", "/nodes/{node}/network", Need::Token, calls::network),
    route("GET", "/nodes/{node}/storage", Need::Token, calls::storages),
    route(
        "GET",
        "/nodes/{node}/storage/{storage}/content",
        Need::Any("/storage/{storage}", &["Datastore.Audit", "Datastore.AllocateSpace"]),
        calls::content,
    ),
    route(
        "DELETE",
        "/nodes/{node}/storage/{storage}/content/{volume}",
        Need::Token,
        calls::delete_volume,
    ),
    route("GET", "/nodes/{node}/aplinfo", Need::Token, calls::appliances),
    route(
        "POST",
        "/nodes/{node}/aplinfo",
        Need::Any("/storage/{storage}", &["Datastore.AllocateTemplate"]),
        calls::download,
    ),
    route("POST", "/nodes/{node}/lxc", Need::Token, create::create),
    route("POST", "/nodes/{node}/vzdump", Need::Token, power::backup),
    route("GET", "/nodes/{node}/lxc/{vmid}/config", Need::Any(GUEST, &["VM.Audit"]), guest::config),
    route(
        "PUT",
        "/nodes/{node}/lxc/{vmid}/config",
        Need::Any(
            GUEST,
            &[
                "VM.Config.Disk",
                "VM.Config.CPU",
                "VM.Config.Memory",
                "VM.Config.Network",
                "VM.Config.Options",
            ],
        ),
        guest::set_config,
    ),
    route(
        "PUT",
        "/nodes/{node}/lxc/{vmid}/resize",
        Need::Any(GUEST, &["VM.Config.Disk"]),
        guest::resize,
    ),
    route(
        "GET",
        "/nodes/{node}/lxc/{vmid}/status/current",
        Need::Any(GUEST, &["VM.Audit"]),
        guest::status,
    ),
    route(
        "GET",
        "/nodes/{node}/lxc/{vmid}/interfaces",
        Need::Any(GUEST, &["VM.Audit"]),
        guest::interfaces,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/start",
        Need::Any(GUEST, &["VM.PowerMgmt"]),
        power::start,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/stop",
        Need::Any(GUEST, &["VM.PowerMgmt"]),
        power::stop,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/shutdown",
        Need::Any(GUEST, &["VM.PowerMgmt"]),
        power::shutdown,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/status/reboot",
        Need::Any(GUEST, &["VM.PowerMgmt"]),
        power::reboot,
    ),
    route("DELETE", "/nodes/{node}/lxc/{vmid}", Need::Any(GUEST, &["VM.Allocate"]), power::destroy),
    route(
        "GET",
        "/nodes/{node}/lxc/{vmid}/snapshot",
        Need::Any(GUEST, &["VM.Audit"]),
        power::snapshots,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/snapshot",
        Need::Any(GUEST, &["VM.Snapshot"]),
        power::snapshot,
    ),
    route(
        "DELETE",
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}",
        Need::Any(GUEST, &["VM.Snapshot"]),
        power::delete_snapshot,
    ),
    route(
        "POST",
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback",
        Need::Any(GUEST, &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        power::rollback,
    ),
    route("GET", "/nodes/{node}/tasks", Need::Token, task::list),
    route("GET", "/nodes/{node}/tasks/{upid}/status", Need::Token, task::status),
    route("GET", "/nodes/{node}/tasks/{upid}/log", Need::Token, task::log),
    route("DELETE", "/nodes/{node}/tasks/{upid}", Need::Token, task::abort),
];

/// A request as it came.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) method: String,
    /// Path below `/api2/json`, percent encoding taken away.
    pub(super) path: String,
    pub(super) params: Vec<(String, String)>,
    pub(super) place: Place,
    pub(super) authorization: Option<String>,
}

/// Answers a request that reached a member that is up.
pub(super) fn answer(world: &mut World, raw: &Raw) -> Outcome {
    let token = authenticate(world, raw.authorization.as_deref())?;
    let found = ROUTES
        .iter()
        .filter(|r| r.method == raw.method)
        .find_map(|route| bind(route.pattern, &raw.path).map(|vars| (route, vars)));
    let params: BTreeMap<String, String> = raw.params.iter().cloned().collect();
    if params.len() != raw.params.len() {
        world.problems.push(format!("{} {}: a parameter is repeated", raw.method, raw.path));
    }
    let verdict = world
        .schema
        .as_ref()
        .map_or(Verdict::Good, |schema| schema.check(&raw.method, &raw.path, &params, raw.place));
    let Some((route, vars)) = found else { return Err(unexpected(world, raw, &verdict)) };
    let access = Access::read(&world.files.user_cfg());
    let request = Request { token, access, vars, params };
    allow(route.need, &request)?;
    if let Some(node) = request.vars.get("node") {
        reach(world, node)?;
    }
    for (key, value) in &request.vars {
        if request.get(key).is_some_and(|given| given != value) {
            return Err(invalid(key, "duplicate parameter in path and body"));
        }
    }
    match verdict {
        Verdict::Good => {}
        Verdict::Bad(errors) => {
            let unknown = errors.values().find(|why| why.contains("the double"));
            if let Some(why) = unknown {
                world.problems.push(format!("{} {}: {why}", raw.method, raw.path));
            }
            return Err(invalid_all(errors));
        }
        Verdict::Unknown | Verdict::RootOnly => {
            world.problems.push(format!("{} {} is not in the schema", raw.method, raw.path));
            return Err(not_implemented(raw));
        }
    }
    (route.call)(world, &request)
}

fn authenticate(world: &World, header: Option<&str>) -> Result<String, Refusal> {
    let refuse = |text: &str| Refusal { status: 401, text: text.to_owned(), ..Refusal::default() };
    let value = header
        .and_then(|h| h.strip_prefix("PVEAPIToken"))
        .map(|h| h.trim_start_matches(['=', ' ']));
    let value = value.ok_or_else(|| refuse("No ticket"))?;
    let failed = || refuse("Authentication failed!");
    let (token, secret) = value.split_once('=').ok_or_else(failed)?;
    let known = Access::read(&world.files.user_cfg()).knows(token);
    if known && world.files.secret(token).as_deref() == Some(secret) {
        Ok(token.to_owned())
    } else {
        Err(failed())
    }
}

fn allow(need: Need, request: &Request) -> Result<(), Refusal> {
    let Need::Any(path, privileges) = need else { return Ok(()) };
    let mut filled = path.to_owned();
    let params = request.params.iter().map(|(k, v)| (k.as_str(), v));
    let vars = request.vars.iter().map(|(k, v)| (*k, v));
    for (key, value) in vars.chain(params) {
        filled = filled.replace(&format!("{{{key}}}"), value);
    }
    if privileges.iter().any(|privilege| request.may(&filled, privilege)) {
        Ok(())
    } else {
        Err(denied(&filled, &privileges.join("|")))
    }
}

/// The member that got the request forwards it to the node of the path.
fn reach(world: &World, node: &str) -> Result<(), Refusal> {
    if !world.nodes.iter().any(|n| n.name == node) {
        let why = "Temporary failure in name resolution";
        return Err(refuse(format!(
            "hostname lookup '{node}' failed - failed to get address info for: {node}: {why}"
        )));
    }
    if world.is_up(node) {
        Ok(())
    } else {
        Err(Refusal { status: 595, text: "No route to host".to_owned(), ..Refusal::default() })
    }
}

fn unexpected(world: &mut World, raw: &Raw, verdict: &Verdict) -> Refusal {
    world.problems.push(format!("{} {} is not modelled", raw.method, raw.path));
    match verdict {
        Verdict::RootOnly => forbidden("Permission check failed (user != root@pam)"),
        _ => not_implemented(raw),
    }
}

fn not_implemented(raw: &Raw) -> Refusal {
    let text = format!("Method '{} {}' not implemented", raw.method, raw.path);
    Refusal { status: 501, text, ..Refusal::default() }
}

/// Values of the variables when a path is an instance of a pattern. A volume may hold slashes.
pub(super) fn bind(pattern: &'static str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let mut vars = BTreeMap::new();
    let mut rest = path;
    for part in pattern.split('/').skip(1) {
        rest = rest.strip_prefix('/')?;
        let end =
            if part == "{volume}" { rest.len() } else { rest.find('/').unwrap_or(rest.len()) };
        let (text, after) = rest.split_at(end);
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) if !text.is_empty() => {
                vars.insert(name, text.to_owned());
            }
            None if part == text => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_empty().then_some(vars)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn paths_are_bound_and_volumes_may_hold_slashes() {
        let vars = bind(
            "/nodes/{node}/storage/{storage}/content/{volume}",
            "/nodes/n/storage/s/content/s:backup/x.tar",
        );
        assert_eq!(vars.unwrap()["volume"], "s:backup/x.tar");
        assert_eq!(bind("/nodes/{node}/lxc", "/nodes/n/lxc/101"), None);
        assert_eq!(bind("/nodes/{node}/lxc", "/nodes//lxc"), None);
        assert_eq!(bind("/version", "/version"), Some(BTreeMap::new()));
    }

    #[test]
    fn every_call_of_the_double_is_in_the_schema_with_the_same_rule() {
        let Some(schema) = super::super::test::schema() else { return };
        for route in ROUTES {
            let rule = schema.permissions(route.pattern, route.method);
            let rule = rule.unwrap_or_else(|| panic!("{} {}", route.method, route.pattern));
            match route.need {
                Need::Token => assert!(rule.get("check").is_none(), "{} {rule}", route.pattern),
                Need::Any(path, privileges) => {
                    let check = rule.get("check").cloned().unwrap_or_default();
                    assert_eq!(check[0], "perm", "{} {check}", route.pattern);
                    assert_eq!(check[1], path, "{} {check}", route.pattern);
                    assert_eq!(check[2], serde_json::json!(privileges), "{}", route.pattern);
                    assert!(privileges.len() == 1 || check[3] == "any", "{}", route.pattern);
                }
            }
        }
    }
}
