//! The command: parse arguments, then run the appliance or talk to one.

use std::process::ExitCode;

use clap::Parser as _;
use ironhatch::app::{self, App};
use ironhatch::apps;
use ironhatch::cli::{self, AppCommand, Cli, Command, DbCommand, NodeCommand, exit};
use ironhatch::config::{Config, ConfigErrors, ProcessSecrets, check::check};
use ironhatch::node::agent;
use ironhatch::observe::logging;
use ironhatch::store;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Serve => serve(&cli),
        // Not through the log: on a node there is the journal, and no configuration of the appliance.
        Command::Node(NodeCommand::Serve(config)) => ExitCode::from(agent::serve(config)),
        Command::Check { quiet } => run_check(&cli, *quiet),
        Command::Doctor(command) => match runtime() {
            Ok(runtime) => runtime.block_on(cli::run_doctor(&cli.reach, &cli.config, command)),
            Err(error) => fail(exit::FAILED, &error),
        },
        Command::Setup(command) => match runtime() {
            Ok(runtime) => runtime.block_on(cli::run_setup(&cli.config, command)),
            Err(error) => fail(exit::FAILED, &error),
        },
        Command::DebugBundle(command) => match runtime() {
            Ok(runtime) => runtime.block_on(cli::run_bundle(&cli.reach, &cli.config, command)),
            Err(error) => fail(exit::FAILED, &error),
        },
        Command::Db(DbCommand::Verify { path }) => verify(path),
        Command::Db(command @ (DbCommand::List | DbCommand::Restore { .. } | DbCommand::Dump)) => {
            offline(&cli, command)
        }
        Command::App(AppCommand::Lint { dirs }) => lint(dirs, cli.reach.json),
        Command::App(AppCommand::Schema) => {
            say(apps::schema::TEXT.trim_end());
            ExitCode::SUCCESS
        }
        command => client(&cli, command),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, std::io::Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn fail(code: u8, text: &impl std::fmt::Display) -> ExitCode {
    eprintln!("ironhatch: {text}");
    ExitCode::from(code)
}

fn say(text: &str) {
    use std::io::Write as _;
    // A closed pipe (`| head`) is the reader's choice.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn wrong_configuration(errors: &ConfigErrors, therefore: &str) -> ExitCode {
    eprintln!("{errors}");
    fail(exit::CONFIGURATION, &format!("the configuration is wrong; {therefore}"))
}

fn serve(cli: &Cli) -> ExitCode {
    app::use_one_heap();
    let config = match Config::load(&cli.config, &ProcessSecrets) {
        Ok((config, warnings)) => {
            for warning in warnings {
                eprintln!("ironhatch: warning: {warning}");
            }
            config
        }
        Err(errors) => return wrong_configuration(&errors, "nothing was started"),
    };
    let recent = logging::init();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::FAILED, &error),
    };
    let code = runtime.block_on(async {
        let app = match App::build(config).await {
            Ok(app) => app.with_log(recent),
            Err(error) => return fail(exit::FAILED, &format!("not started: {error}")),
        };
        let stop = app.stop_token();
        if let Err(error) = app::stop_on_signals(stop) {
            return fail(exit::FAILED, &error);
        }
        match app.setup_link().await {
            // Not through the log: the link is a secret, and the sink would take it out.
            Ok(Some(link)) => eprintln!("ironhatch: set the operator's password once at {link}"),
            Ok(None) => {}
            Err(error) => return fail(exit::FAILED, &error),
        }
        app.announce();
        match app.run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(exit::FAILED, &error),
        }
    });
    // Everything is flushed; a thread that still reads an ISO must not hold the stop up.
    runtime.shutdown_background();
    code
}

fn run_check(cli: &Cli, quiet: bool) -> ExitCode {
    let report = check(&cli.config, &ProcessSecrets);
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    for error in &report.errors {
        eprintln!("{error}");
    }
    if !report.errors.is_empty() {
        return fail(
            exit::CONFIGURATION,
            &format!("{} problems in the configuration", report.errors.len()),
        );
    }
    if !quiet && let Some(effective) = &report.effective {
        say(effective);
    }
    ExitCode::SUCCESS
}

fn lint(dirs: &[std::path::PathBuf], json: bool) -> ExitCode {
    let report = match apps::lint::lint(dirs) {
        Ok(report) => report,
        Err(error) => return fail(exit::USAGE, &app::chain(&error)),
    };
    say(if json { report.json().to_string() } else { report.text() }.trim_end());
    ExitCode::from(if report.is_clean() { exit::OK } else { exit::FAILED })
}

fn offline(cli: &Cli, command: &DbCommand) -> ExitCode {
    let database = match Config::data_dir_of(&cli.config) {
        Ok(data_dir) => data_dir.join(app::DATABASE),
        Err(errors) => return wrong_configuration(&errors, "the database is not known"),
    };
    let done = match command {
        DbCommand::List => backups(&database, cli.reach.json),
        DbCommand::Restore { path } => store::restore(path, &database).map(|found| {
            say(&format!("restored {} records into {}", found.records, database.display()));
        }),
        _ => store::dump_file(&database, &mut std::io::stdout().lock()),
    };
    ended(done)
}

fn verify(path: &std::path::Path) -> ExitCode {
    ended(store::verify(path).map(|found| {
        say(&format!(
            "{} records, schema {}, digest {}",
            found.records, found.schema, found.digest
        ));
    }))
}

fn ended(done: Result<(), store::StoreError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit::FAILED, &app::chain(&error)),
    }
}

/// The regular backups, newest first, each read from end to end.
fn backups(database: &std::path::Path, json: bool) -> Result<(), store::StoreError> {
    let checked: Vec<_> = store::regular_backups(database)?
        .into_iter()
        .map(|backup| {
            let found = store::verify(&backup.path);
            let state = found.map_or_else(|error| error.to_string(), |_| "whole".to_owned());
            (backup, state)
        })
        .collect();
    if json {
        let rows: Vec<_> = checked
            .iter()
            .map(|(b, state)| {
                serde_json::json!({
                    "path": b.path,
                    "made": b.made.to_string(),
                    "bytes": b.bytes,
                    "schema_left": b.before_migration,
                    "state": state,
                })
            })
            .collect();
        say(&serde_json::json!({ "backups": rows }).to_string());
        return Ok(());
    }
    if checked.is_empty() {
        say(&format!("there is none yet in {}", store::backup_folder(database).display()));
    }
    for (backup, state) in checked {
        let kib = backup.bytes.div_ceil(1024);
        say(&format!("{}  {kib:>8} KiB  {}  {state}", backup.made, backup.path.display()));
    }
    Ok(())
}

fn client(cli: &Cli, command: &Command) -> ExitCode {
    let data_dir = match cli.reach.data_dir(&cli.config) {
        Ok(data_dir) => data_dir,
        Err(errors) => return wrong_configuration(&errors, "the appliance is not known"),
    };
    match runtime() {
        Ok(runtime) => runtime.block_on(cli::run_client(&cli.reach, &data_dir, command)),
        Err(error) => fail(exit::FAILED, &error),
    }
}
