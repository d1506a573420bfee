//! ZFS pools that survived a reinstallation: listed, and imported one by one by their numeric id. Never `-a`, never `-F`.

use std::time::Duration;

use super::run::run_short;
use super::{SHORT, Stop, failed, refused};
use crate::proto::verb::{ImportablePool, Rule};

/// Reading the labels of all disks takes long on slow ones.
const IMPORT: Duration = Duration::from_secs(150);
/// Names here do not change between boots.
const DEVICES: &str = "/dev/disk/by-id";

/// What `zpool import` lists.
pub(super) fn importable() -> Result<Vec<ImportablePool>, Stop> {
    let said = run_short(&["zpool", "import", "-d", DEVICES], IMPORT)?;
    if said.status != 0 && said.stderr.contains("no pools available to import") {
        return Ok(Vec::new());
    }
    said.success("zpool import").map(|text| parse(&text))
}

/// Imports one pool without mounting anything. A pool that is imported already is done.
pub(super) fn import(allowed: &[String], name: &str, id: u64, foreign: bool) -> Result<(), Stop> {
    if !allowed.iter().any(|a| a == name) {
        return Err(refused(Rule::Argument, format!("the pool {name} is not an allowed one")));
    }
    let present = run_short(&["zpool", "list", "-H", "-p", "-o", "name,guid"], SHORT)?
        .success("zpool list")?;
    if present.lines().any(|l| l.split_whitespace().eq([name, &id.to_string()])) {
        return Ok(());
    }
    let listed = importable()?;
    let Some(pool) = listed.iter().find(|p| p.id == id) else {
        return Err(failed(format!("no pool with the id {id} can be imported")));
    };
    if pool.name != name {
        return Err(refused(
            Rule::Argument,
            format!("the pool with the id {id} is called {}, not {name}", pool.name),
        ));
    }
    // A degraded pool lost disks: importing it is a decision of a person at the node.
    if pool.state != "ONLINE" {
        return Err(refused(Rule::State, format!("the pool {name} is {}", pool.state)));
    }
    if pool.foreign && !foreign {
        return Err(refused(
            Rule::State,
            format!(
                "the pool {name} was last used by another system, and nobody said that it is this host's"
            ),
        ));
    }
    let id = id.to_string();
    let mut argv = vec!["zpool", "import", "-N"];
    if pool.foreign {
        argv.push("-f");
    }
    argv.extend(["-d", DEVICES, "-o", "cachefile=none", &id]);
    run_short(&argv, IMPORT)?.success("zpool import").map(|_| ())
}

/// Reads the list of `zpool import` (OpenZFS 2.1 to 2.4): blocks of `key: value` lines that begin with `pool:`.
fn parse(text: &str) -> Vec<ImportablePool> {
    let mut pools: Vec<ImportablePool> = Vec::new();
    for line in text.lines() {
        let (key, value) = line.split_once(':').map_or(("", ""), |(k, v)| (k.trim(), v.trim()));
        if key == "pool" && !line.starts_with('\t') {
            pools.push(ImportablePool {
                name: value.to_owned(),
                id: 0,
                state: String::new(),
                foreign: false,
            });
            continue;
        }
        let Some(pool) = pools.last_mut() else { continue };
        match key {
            "id" => pool.id = value.parse().unwrap_or(0),
            "state" => pool.state = value.to_owned(),
            _ => {}
        }
        if line.contains("last accessed by another system")
            || line.contains("in use from other system")
        {
            pool.foreign = true;
        }
    }
    // Without an id it could not be named.
    pools.retain(|pool| pool.id != 0);
    pools
}

#[cfg(test)]
mod test {
    use super::*;

    const LIST: &str = "   pool: tank
     id: 15451357997522795478
  state: ONLINE
status: The pool was last accessed by another system.
 action: The pool can be imported using its name or numeric identifier and
\tthe '-f' flag.
   see: https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-EY
 config:

\ttank        ONLINE
\t  mirror-0  ONLINE
\t    ata-A   ONLINE

   pool: old
     id: 2
  state: DEGRADED
 action: The pool can be imported despite missing or damaged devices.
 config:

\told         DEGRADED
";

    #[test]
    fn the_list_of_importable_pools_is_read() {
        let pools = parse(LIST);
        assert_eq!(pools.len(), 2);
        assert_eq!(
            pools.first(),
            Some(&ImportablePool {
                name: "tank".to_owned(),
                id: 15_451_357_997_522_795_478,
                state: "ONLINE".to_owned(),
                foreign: true
            })
        );
        let old = pools.last().unwrap();
        assert_eq!(
            (old.name.as_str(), old.state.as_str(), old.foreign),
            ("old", "DEGRADED", false)
        );
        assert!(parse("").is_empty());
        assert!(parse("garbage\nid: 3\nstate: ONLINE\n").is_empty());
    }

    #[test]
    fn a_pool_that_the_command_line_does_not_name_is_refused() {
        let refusal = import(&["tank".to_owned()], "rpool", 1, true);
        assert!(matches!(refusal, Err(Stop::Refused(Rule::Argument, _))), "{refusal:?}");
    }
}
