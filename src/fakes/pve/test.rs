//! The double against the vendor's schema and against exchanges that were recorded with the real API.

use std::path::PathBuf;

use super::*;

/// A file of the collection beside the repository. `None`, and said so, when there is none.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("{} is not there: nothing is compared", file.display());
    None
}

/// The vendor's schema.
pub(super) fn schema() -> Option<Schema> {
    Schema::open(&shared("reference/pve-api-schema.json")?)
}

/// What happened between recorded exchanges by means that the double does not have: cloning, root's tickets, the node's
/// own commands. Done before the exchange of this name.
fn meanwhile(fake: &mut World, name: &str) {
    let copy = |fake: &mut World, from: u32, to: u32, key: &str| {
        let mut conf = fake.files.conf("pve1", from).unwrap();
        conf.now
            .raw
            .extend([(key.to_owned(), "1".to_owned())].into_iter().filter(|(k, _)| !k.is_empty()));
        fake.files.write_conf("pve1", to, &conf);
        fake.edit_pool(POOL, |pool| {
            pool.guests.insert(to);
        });
    };
    match name {
        "add dir storage again" => {
            let mut tank = storages().remove(2);
            tank.content = ["backup", "images", "rootdir"].map(str::to_owned).to_vec();
            fake.storages.push(tank);
        }
        "config of it" if fake.files.conf("pve1", 105).is_none() => {
            let file = "arch: amd64\ncores: 1\ndev0: /dev/null,gid=104,mode=0660\nentrypoint: /sbin/init\n\
                env: A=1\0B=two words\nfeatures: nesting=1,keyctl=1,fuse=1\nhostname: rooted\nmemory: 512\n\
                ostype: debian\nrootfs: local:105/vm-105-disk-0.raw,size=1G\nswap: 0\n\
                tags: alpha;beta;zeta\nunprivileged: 1\n";
            let now = ContainerConfig::read_file(file);
            fake.files.write_conf("pve1", 105, &Conf { now, snapshots: Vec::new() });
            fake.edit_pool(POOL, |pool| {
                pool.guests.insert(105);
            });
        }
        "config of a template" => {
            copy(fake, 104, 104, "template");
            fake.edit_conf("pve1", 104, |conf| {
                let rootfs = "local:104/base-104-disk-0.raw,size=1G".to_owned();
                conf.now.raw.insert("rootfs".to_owned(), rootfs);
            });
        }
        "config of the clone" => copy(fake, 102, 110, ""),
        "config change of a locked guest" => fake.set_lock("pve1", 110, Some("backup")),
        "protection on" => fake.set_lock("pve1", 110, None),
        "destroy with purge, HA resource" => copy(fake, 104, 112, ""),
        "destroy a template" => copy(fake, 104, 113, ""),
        "vzdump now (scoped)" | "vzdump, tmpdir (token)" => {
            fake.set_lock("pve1", 101, None);
        }
        _ => {}
    }
}

/// Exchanges that the double answers otherwise: it has no clones, no high availability and no moving of volumes, and its
/// nodes are a cluster already.
const OTHERWISE: &[&str] = &[
    "config of the clone",
    "config of the new id during the clone (root token)",
    "config of the source during the clone",
    "destroy without purge, HA resource",
    "config after move",
    "cluster status, stand-alone",
];

/// A recorded request, when the double models it; else what keeps it from that.
fn request_of(exchange: &serde_json::Value) -> Option<route::Raw> {
    use crate::proto::pve::encode;
    let request = &exchange["request"];
    let authorization = match exchange["auth"].as_str().unwrap() {
        "token-root" => format!("PVEAPIToken={ROOT_TOKEN}={ROOT_SECRET}"),
        "token-scoped" => format!("PVEAPIToken={TOKEN}={SECRET}"),
        _ => return None,
    };
    let path = request["path"].as_str().unwrap().strip_prefix("/api2/json")?;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (path, method) = (encode::decode(path)?, request["method"].as_str().unwrap());
    let is_modelled =
        route::ROUTES.iter().any(|r| r.method == method && route::bind(r.pattern, &path).is_some());
    let body = request["body"].as_str().unwrap_or_default();
    // Of another node than the one that is played.
    if !is_modelled || body.contains('<') || exchange["node"] != "pve1" {
        return None;
    }
    let mut params = encode::read_pairs(query)?;
    let mut place = format::Place::Form;
    if body.starts_with('{') {
        place = format::Place::Json;
        let json: serde_json::Value = serde_json::from_str(body).ok()?;
        params.extend(
            json.as_object()?
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))),
        );
    } else {
        params.extend(encode::read_pairs(body)?);
    }
    let authorization = Some(authorization);
    Some(route::Raw { method: method.to_owned(), path, params, place, authorization })
}

/// Where an answer of the double differs from a recorded one in its shape: no key that the cluster does not know, and the
/// same kind of value under each.
fn differs(ours: &serde_json::Value, recorded: &serde_json::Value, at: &str) -> Option<String> {
    use serde_json::Value;
    match (ours, recorded) {
        (Value::Object(ours), Value::Object(recorded)) => {
            ours.iter().find_map(|(key, value)| match recorded.get(key) {
                Some(other) => differs(value, other, &format!("{at}.{key}")),
                None => Some(format!("{at}.{key} is not recorded")),
            })
        }
        (Value::Array(ours), Value::Array(recorded)) => {
            // Rows of lists have different keys; one recorded row must fit.
            ours.iter().find_map(|row| {
                let reasons: Vec<Option<String>> =
                    recorded.iter().map(|r| differs(row, r, &format!("{at}[]"))).collect();
                if recorded.is_empty() || reasons.iter().any(Option::is_none) {
                    return None;
                }
                reasons.into_iter().next().flatten()
            })
        }
        (Value::Null, Value::Null)
        | (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_)) => None,
        _ => Some(format!("{at}: {ours} where {recorded} was recorded")),
    }
}

/// A configuration without what is drawn or counted.
fn comparable(config: &serde_json::Value) -> BTreeMap<String, String> {
    let config = ContainerConfig::read(config).unwrap();
    let mut shown = config.raw.clone();
    for (key, text) in &mut shown {
        if let Ok(property) = crate::proto::pve::PropertyString::parse(text)
            && (key.starts_with("net") || key.starts_with("mp") || key == "rootfs")
        {
            let kept: Vec<String> = property
                .iter()
                .filter(|(k, _)| *k != "hwaddr")
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            *text = format!("{:?} {}", property.bare(), kept.join(","));
        }
    }
    // Whether a time zone can be set depends on the template's files.
    shown.remove("timezone");
    shown
}

/// The cluster of the records, before anything was done to it.
fn recorded_cluster(root: &std::path::Path) -> World {
    let nodes = ["pve1", "pve2", "pve3", "pve4"].map(|name| Node {
        name: name.to_owned(),
        up: true,
        fingerprint: [0; 32],
    });
    let mut world = World::new(root, nodes.into(), schema());
    world.storages = storages();
    world.appliances = appliances();
    world.add_template("local", TEMPLATE.rsplit('/').next().unwrap());
    world.files.write_user_cfg(&format!("{USER_CFG}{ENROLLED_CFG}pool:jsonpool::::\n"));
    world.files.write_token_cfg(&format!("{ROOT_TOKEN} {ROOT_SECRET}\n{TOKEN} {SECRET}\n"));
    world.task_time = Duration::ZERO;
    world
}

fn exchanges(file: &str) -> Option<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(shared(&format!("fixtures/pve/{file}"))?).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn recorded_requests_are_answered_as_the_cluster_answered_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = recorded_cluster(dir.path());
    let content = ["rootdir", "vztmpl", "iso", "backup", "images", "snippets"];
    world.storages = storages().into_iter().take(1).collect();
    world.storages[0].content = content.map(str::to_owned).to_vec();
    let (mut compared, mut problems) = (0, Vec::new());
    let mut drawn: BTreeMap<String, String> = BTreeMap::new();
    for file in ["02-discovery.json", "03-lxc-create.json", "03-lxc-change.json", "06-backup.json"]
    {
        let Some(exchanges) = exchanges(file) else { return };
        for exchange in exchanges {
            let name = exchange["name"].as_str().unwrap();
            world.settle();
            // Where they were recorded no container could run.
            for (_, vmid) in world.files.guests() {
                world.files.set_stopped(vmid);
            }
            meanwhile(&mut world, name);
            let Some(mut raw) = request_of(&exchange) else { continue };
            // Names of tasks and digests are drawn; what the cluster drew stands for what the double drew.
            for (theirs, ours) in &drawn {
                raw.path = raw.path.replace(theirs, ours);
                raw.params.iter_mut().for_each(|(_, v)| *v = v.replace(theirs, ours));
            }
            let outcome = route::answer(&mut world, &raw);
            let recorded = &exchange["response"]["body"]["data"];
            if let Ok(data) = &outcome {
                for (theirs, ours) in [(recorded, data), (&recorded["digest"], &data["digest"])] {
                    if let (Some(theirs), Some(ours)) = (theirs.as_str(), ours.as_str())
                        && theirs.len() >= 40
                    {
                        drawn.insert(theirs.to_owned(), ours.to_owned());
                    }
                }
            }
            if OTHERWISE.contains(&name) {
                continue;
            }
            compared += 1;
            let response = &exchange["response"];
            let is_config = raw.method == "GET" && raw.path.ends_with("/config");
            let problem = match &outcome {
                Ok(data) if response["status"] != 200 => {
                    Some(format!("{data} instead of {}", response["reason"]))
                }
                Ok(data) if is_config => {
                    let (ours, recorded) = (comparable(data), comparable(recorded));
                    (ours != recorded).then(|| format!("{ours:?}\n     instead of {recorded:?}"))
                }
                Ok(data) => differs(data, recorded, ""),
                Err(refusal) => {
                    let keys: Vec<&String> = refusal.errors.keys().collect();
                    let errors = response["body"]["errors"].as_object();
                    let expected: Vec<&String> =
                        errors.into_iter().flat_map(|e| e.keys()).collect();
                    let mut expected = expected;
                    expected.sort();
                    // Some texts end in the place of the vendor's code.
                    let reason = response["reason"].as_str().unwrap();
                    let same = response["status"] == refusal.status
                        && keys == expected
                        && reason.starts_with(refusal.text.lines().next().unwrap());
                    (!same).then(|| format!("{refusal:?}\n     instead of {response}"))
                }
            };
            problems.extend(problem.map(|p| format!("{file}: {name}: {p}")));
        }
    }
    assert!(problems.is_empty(), "{} of {compared}:\n{}", problems.len(), problems.join("\n"));
    assert!(compared > 150, "only {compared} exchanges were compared");
}

#[test]
fn a_cluster_without_quorum_and_a_node_that_is_off_answer_as_recorded() {
    let Some(exchanges) = exchanges("07-cluster-api.json") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut world = recorded_cluster(dir.path());
    world.storages[0].content.push("rootdir".to_owned());
    let now = ContainerConfig::read_file("hostname: a\nunprivileged: 1\n");
    world.files.write_conf("pve1", 101, &Conf { now, snapshots: Vec::new() });
    world.edit_pool(POOL, |pool| {
        pool.guests.insert(101);
    });
    let mut compared = 0;
    for exchange in exchanges {
        let name = exchange["name"].as_str().unwrap();
        world.quorate = !name.ends_with("without quorum");
        world.nodes[3].up = !name.ends_with("that is off");
        if world.quorate && world.nodes[3].up {
            continue;
        }
        let Some(raw) = request_of(&exchange).filter(|raw| raw.method != "GET") else { continue };
        let refusal = route::answer(&mut world, &raw).unwrap_err();
        assert_eq!(exchange["response"]["status"], refusal.status, "{name}: {refusal:?}");
        assert_eq!(exchange["response"]["reason"], refusal.text, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 4);
}

/// Sends a recorded request as bytes and gives status, reason and body.
async fn over_http(world: &Mutex<World>, exchange: &serde_json::Value) -> (u16, String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let request = &exchange["request"];
    let secret = if exchange["auth"] == "token-root" { ROOT_SECRET } else { SECRET };
    let mut head = String::new();
    for (name, text) in request["headers"].as_object().unwrap() {
        let text = text.as_str().unwrap().replace("<token-secret>", secret);
        head.push_str(&format!("{name}: {text}\r\n"));
    }
    let mut body = request["body"].as_str().unwrap_or_default().to_owned();
    if head.contains("chunked") {
        body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    } else {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
    let text =
        format!("{method} {path} HTTP/1.1\r\nhost: pve1\r\n{head}connection: close\r\n\r\n{body}");
    let (mut client, socket) = tokio::io::duplex(1 << 20);
    let service = hyper::service::service_fn(|request| server::respond("pve1", world, request));
    let http = hyper::server::conn::http1::Builder::new();
    let serving = http.serve_connection(hyper_util::rt::TokioIo::new(socket), service);
    let talking = async {
        client.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (_, answer) = tokio::join!(serving, talking);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut line = head.lines().next().unwrap().splitn(3, ' ').skip(1);
    let status = line.next().unwrap().parse().unwrap();
    (status, line.next().unwrap_or_default().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_http_layer_refuses_what_the_real_one_refuses() {
    let Some(exchanges) = exchanges("01-auth.json") else { return };
    let dir = tempfile::tempdir().unwrap();
    let world = Mutex::new(recorded_cluster(dir.path()));
    let mut compared = 0;
    for exchange in exchanges {
        let (request, response) = (&exchange["request"], &exchange["response"]);
        let path = request["path"].as_str().unwrap();
        let is_modelled = request_of(&exchange).is_some();
        let by_layer = matches!(response["status"].as_u64().unwrap(), 401 | 500 | 501 | 506);
        let has_ticket =
            path.ends_with("/access/ticket") || !request["headers"]["Cookie"].is_null();
        // Without TLS the real server redirects; here there is never any.
        let is_plain = exchange["name"].as_str().unwrap().starts_with("plain HTTP");
        if has_ticket || is_plain || !(is_modelled || by_layer) {
            continue;
        }
        compared += 1;
        let (status, reason, body) = over_http(&world, &exchange).await;
        let name = &exchange["name"];
        assert_eq!(response["status"], status, "{name}: {reason}");
        let recorded = response["reason"].as_str().unwrap();
        assert!(recorded.starts_with(&reason) && !reason.is_empty(), "{name}: {reason}");
        if response["body"] == "" {
            assert_eq!(body, "", "{name}");
        }
        if !response["body"]["message"].is_null() {
            let ours: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert!(ours["message"].as_str().unwrap().starts_with(&reason), "{name}");
        }
    }
    assert!(compared > 18, "only {compared} exchanges were compared");
}
