//! Calls about tasks.

use serde_json::{Value, json};

use super::World;
use super::world::{Outcome, Refusal, Request, Task, invalid};
use crate::proto::pve::Upid;

fn find(world: &World, request: &Request) -> Result<usize, Refusal> {
    let Ok(upid) = request.var("upid").parse::<Upid>() else {
        return Err(invalid("upid", "unable to parse worker upid"));
    };
    let known = |task: &&Task| task.upid == upid && !task.lost;
    if upid.node() != request.node() || world.tasks.iter().find(known).is_none() {
        return Err(invalid("upid", "no such task"));
    }
    if upid.user() != request.token {
        request.need(&format!("/nodes/{}", upid.node()), "Sys.Audit")?;
    }
    Ok(world.tasks.iter().position(|task| task.upid == upid).unwrap_or(0))
}

fn row(task: &Task) -> Value {
    let upid = &task.upid;
    let (user, token) = upid.user().split_once('!').unwrap_or((upid.user(), ""));
    json!({
        "upid": upid.as_str(), "node": upid.node(), "pid": upid.pid(), "pstart": upid.process_start(),
        "starttime": upid.started().0 / 1000, "type": upid.kind(), "id": upid.id(), "user": user,
        "tokenid": token,
    })
}

pub(super) fn status(world: &mut World, request: &Request) -> Outcome {
    let index = find(world, request)?;
    let task = &world.tasks[index];
    let mut answer = row(task);
    match &task.exit {
        None => answer["status"] = json!("running"),
        Some(exit) => {
            answer["status"] = json!("stopped");
            answer["exitstatus"] = json!(exit);
        }
    }
    Ok(answer)
}

pub(super) fn log(world: &mut World, request: &Request) -> Outcome {
    let index = find(world, request)?;
    let log = &world.tasks[index].log;
    let start = request.number("start").unwrap_or(0);
    let limit = request.number("limit").unwrap_or(50);
    if log.is_empty() {
        return Ok(json!([{"n": 1, "t": "no content"}]));
    }
    let lines = (1_u64..).zip(log).filter(|(n, _)| *n > start && *n <= start + limit);
    Ok(lines.map(|(n, text)| json!({"n": n, "t": text})).collect())
}

pub(super) fn abort(world: &mut World, request: &Request) -> Outcome {
    let index = find(world, request)?;
    if world.tasks[index].upid.user() != request.token {
        request.need(&format!("/nodes/{}", request.node()), "Sys.Modify")?;
    }
    world.kill(index);
    Ok(Value::Null)
}

pub(super) fn list(world: &mut World, request: &Request) -> Outcome {
    let source = request.get("source").unwrap_or("archive");
    let since = request.number("since").and_then(|s| i64::try_from(s).ok());
    let may_see_all = request.may(&format!("/nodes/{}", request.node()), "Sys.Audit");
    let rows = world.tasks.iter().rev().filter(|task| {
        let upid = &task.upid;
        !task.lost
            && upid.node() == request.node()
            && (may_see_all || upid.user() == request.token)
            && request.get("vmid").is_none_or(|vmid| upid.id() == vmid)
            && request.get("typefilter").is_none_or(|kind| upid.kind() == kind)
            && since.is_none_or(|since| upid.started().0 / 1000 >= since)
            && match source {
                "archive" => task.exit.is_some(),
                "active" => task.exit.is_none(),
                _ => true,
            }
    });
    let limit = request.number("limit").and_then(|l| usize::try_from(l).ok()).unwrap_or(50);
    let rows = rows.take(limit).map(|task| {
        let mut row = row(task);
        if let Some(exit) = &task.exit {
            row["status"] = json!(exit);
            row["endtime"] = json!(task.ended);
        }
        row
    });
    Ok(rows.collect())
}
