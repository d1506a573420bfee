//! Carries a client command out: one request, and for long work the job's log until its end.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::call::{call, segment};
use super::client::{Client, ClientError};
use super::{Command, HostCommand, ImageCommand, JobCommand, RebuildMany, exit, print};

/// How often a followed job is asked for news.
const PULSE: Duration = Duration::from_millis(500);

/// Runs a command; the exit code tells how it ended.
pub(super) async fn run(client: &Client, json: bool, command: &Command) -> Result<u8, ClientError> {
    if let Command::Job(JobCommand::Follow { job }) = command {
        return follow(client, json, job).await;
    }
    let call = call(command)?;
    let value = client.send(call.method.clone(), &call.path, call.body.as_ref()).await?;
    let value = match call.method {
        Method::GET if !call.path.contains("limit=") => complete(client, &call.path, value).await?,
        _ => value,
    };
    let waits = match command {
        Command::App(command) => command.waits(),
        Command::Guest(command) => command.waits(),
        Command::Node(command) => command.waits(),
        command => matches!(
            command,
            Command::Image(ImageCommand::Import { wait: true, .. })
                | Command::Host(
                    HostCommand::Rebuild { wait: true, .. }
                        | HostCommand::RebuildMany(RebuildMany { wait: true, .. })
                )
                | Command::Job(JobCommand::Retry { wait: true, .. })
        ),
    };
    match value.get("job").and_then(Value::as_str) {
        Some(job) if waits => follow(client, json, job).await,
        _ => {
            print::answer(command, &value, json);
            Ok(match command {
                Command::Notify(command) => command.exit_code(&value),
                _ => exit::OK,
            })
        }
    }
}

/// A whole list of which the first page was read.
async fn complete(client: &Client, path: &str, mut value: Value) -> Result<Value, ClientError> {
    while let Some(next) = value.get("next").and_then(Value::as_str).map(segment) {
        let sign = if path.contains('?') { '&' } else { '?' };
        let page = client.get(&format!("{path}{sign}after={next}")).await?;
        let Value::Object(page) = page else { break };
        for (name, part) in page {
            match (value.get_mut(&name), part) {
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
                (Some(known), part) => *known = part,
                (None, _) => {}
            }
        }
    }
    Ok(value)
}

/// Prints a job's log until it ends.
async fn follow(client: &Client, json: bool, job: &str) -> Result<u8, ClientError> {
    let path = format!("/api/jobs/{}", segment(job));
    let mut seen = 0;
    let mut progress = String::new();
    loop {
        // The job is read before its log: when it is over, the log that follows is complete.
        let state = client.get(&path).await?;
        loop {
            let page = client.get(&format!("{path}/logs?after={seen}&limit=500")).await?;
            let lines = page.get("lines").and_then(Value::as_array).cloned().unwrap_or_default();
            for line in &lines {
                seen = line.get("seq").and_then(Value::as_u64).unwrap_or(seen);
                print::log_line(line, json);
            }
            if lines.len() < 500 {
                break;
            }
        }
        let told = state.pointer("/progress/text").and_then(Value::as_str).unwrap_or_default();
        if !told.is_empty() && told != progress {
            told.clone_into(&mut progress);
            print::progress(told, json);
        }
        let status = state.get("status").and_then(Value::as_str).unwrap_or_default();
        if matches!(status, "succeeded" | "failed" | "cancelled") {
            print::job_end(&state, json);
            return Ok(if status == "succeeded" { exit::OK } else { exit::FAILED });
        }
        tokio::time::sleep(PULSE).await;
    }
}
