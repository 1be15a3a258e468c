//! `onepoll stress`: a load generator that checks every answer, for this daemon
//! or any other server.
//!
//! A run is a [`Service`] that connects, hosted on the same reactor as the
//! daemon's own services. Reading order: [`plan`] (what the load is), [`run`]
//! (how a run proceeds), [`scenario`] (the seam to the [`scenarios`]), [`talk`] (the
//! life of connections, whatever is said on them), [`window`] and [`payload`] (what
//! became of a message, and how it is recognised), [`metrics`] (the one table of
//! figures), [`tally`] and [`measure`], [`report`].

mod arguments;
mod compare;
mod exchange;
mod fail_if;
mod framing;
mod kinds;
mod measure;
mod metrics;
mod payload;
mod plan;
mod report;
mod run;
mod scenario;
mod scenarios;
mod talk;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod window;

use std::env;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use log::LevelFilter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::gethostname;
use onepoll::reactor::{Limits, Rate, Reactor, SocketOptions};
use onepoll::service::Service;

use arguments::Order;
pub use arguments::StressCommand;
use fail_if::Condition;
use measure::Outcome;
use report::Reporter;
use report::files::Outputs;
use report::place::Place;
use report::summary::{FORMAT, Measured, Summary, moment};
use run::Run;

use crate::client::target::{Route, cause};
use crate::{Failure, logging, output, signals};

/// The exit status if a `--fail-if` condition holds.
const CONDITION_HOLDS: u8 = 3;
/// Descriptors other than connections: files, the poll, its waker.
const OTHER_DESCRIPTORS: u64 = 32;

/// Runs a scenario, or compares two runs.
pub fn run(command: StressCommand) -> Result<(), Failure> {
    logging::start(LevelFilter::Error);
    if let StressCommand::Compare { a, b, fail_if } = &command {
        let compare::Comparison { text, worse } = compare::compare(a, b, fail_if).map_err(Failure::usage)?;
        output::print(&text).map_err(|error| Failure::at_run_time(unprinted(&error)))?;
        let status = if worse.iter().any(|why| why.starts_with("--fail-if")) { CONDITION_HOLDS } else { 1 };
        return if worse.is_empty() { Ok(()) } else { Err(Failure { sentence: worse.join("; "), status }) };
    }
    let order = command.order().map_err(Failure::usage)?;
    need_descriptors(order.plan.connections).map_err(Failure::usage)?;
    let (mut reporter, outputs) = order.common.files.open().map_err(Failure::usage)?;
    let settings = order.settings.clone();
    let title = report::table::title(&settings);
    reporter.begin_log(&title, SystemTime::now());
    let mut unwritten = Vec::new();
    unwritten.extend(tell(&outputs, &format!("{title}\n")));
    let repeat = order.common.repeat;
    let mut outcomes = Vec::new();
    let mut runs = Vec::new();
    let mut missing = None;
    for number in 1..=repeat {
        if repeat > 1 {
            reporter.set_run(number as u32);
        }
        let started = Some(moment(Timestamp::now()));
        let (mut outcome, back) = run_once(&order, reporter);
        reporter = back;
        reporter.clear();
        let too_early = outcome.interrupted && outcome.elapsed.is_zero();
        let failure = if outcome.counted_nothing() { outcome.failure.take() } else { None };
        let nothing = failure.or_else(|| too_early.then(|| unmeasured(&outcome)));
        if let Some(why) = nothing {
            if outcomes.is_empty() {
                outputs.take_back();
                return Err(Failure::at_run_time(why));
            }
            // Whatever the runs before it measured is still written.
            missing = Some(without(number, repeat, &why));
            break;
        }
        if repeat > 1 {
            unwritten.extend(tell(&outputs, &format!("run {number} of {repeat}\n")));
        }
        let run = Measured { started, ..Measured::of(&outcome) };
        unwritten.extend(tell(&outputs, &report::table::table(&settings, &run)));
        let is_cut = outcome.interrupted;
        outcomes.push(outcome);
        runs.push(run);
        if is_cut {
            break;
        }
    }
    let version = Some(env!("CARGO_PKG_VERSION").into());
    let command = Some(env::args().collect::<Vec<_>>().join(" "));
    let host = gethostname().ok().and_then(|name| name.into_string().ok());
    let summary = Summary { format: FORMAT.into(), version, command, host, settings, runs };
    if summary.runs.len() > 1 {
        unwritten.extend(tell(&outputs, &compare::spread(&summary)));
    }
    let verdict = judge(&order.common.fail_if, &summary, &outcomes, missing);
    let sentence = verdict.as_ref().err().map(|failure| failure.sentence.as_str());
    unwritten.extend(write(&outputs, reporter, &summary, &outcomes, sentence));
    unwritten.dedup();
    match (unwritten.join("; "), verdict) {
        (none, verdict) if none.is_empty() => verdict,
        (unwritten, Ok(())) => Err(Failure::at_run_time(unwritten)),
        (unwritten, Err(Failure { sentence, status })) => {
            Err(Failure { sentence: format!("{sentence}; {unwritten}"), status })
        }
    }
}

/// Describes a run that ended before anything was measured.
fn unmeasured(outcome: &Outcome) -> String {
    let mut sentence = "the run ended before anything was measured".to_owned();
    if !outcome.warmup.errors.is_empty() {
        let kinds: Vec<&str> = outcome.warmup.errors.keys().map(String::as_str).collect();
        sentence += &format!("; until then: {}", kinds.join(", "));
    }
    sentence
}

/// Why the runs from this one on are missing.
fn without(number: usize, repeat: usize, why: &str) -> String {
    match repeat - number {
        0 => format!("run {number} of {repeat} is left out: {why}"),
        _ => format!("runs {number} to {repeat} are left out: {why}"),
    }
}

/// Writes the requested files, and returns what could not be written.
fn write(
    outputs: &Outputs,
    reporter: Reporter,
    summary: &Summary,
    outcomes: &[Outcome],
    verdict: Option<&str>,
) -> Vec<String> {
    let json = || {
        let text = serde_json::to_string_pretty(summary).map_err(|error| error.to_string())?;
        Ok(text + "\n")
    };
    let json = outputs.json.as_ref().map(|place| (place, json()));
    let page = outputs.report.as_ref().map(|place| (place, report::html::page(summary, outcomes, verdict)));
    // Writing that may have to wait for a reader comes last.
    let (files, others): (Vec<_>, Vec<_>) =
        json.into_iter().chain(page).partition(|(place, _)| place.is_file());
    let put =
        |(place, text): (&Place, Result<String, String>)| text.and_then(|text| place.write(&text)).err();
    let mut unwritten: Vec<String> = files.into_iter().filter_map(put).collect();
    unwritten.extend(reporter.finish());
    unwritten.extend(others.into_iter().filter_map(put));
    unwritten
}

/// Judges the runs. `missing` says why some of the requested runs are missing.
fn judge(
    conditions: &[Condition],
    summary: &Summary,
    outcomes: &[Outcome],
    missing: Option<String>,
) -> Result<(), Failure> {
    let holding: Vec<String> = conditions
        .iter()
        .filter_map(|condition| summary.runs.iter().find_map(|run| condition.holds(run)))
        .collect();
    if !holding.is_empty() {
        let sentences: Vec<String> = holding.into_iter().chain(missing).collect();
        return Err(Failure { sentence: sentences.join("; "), status: CONDITION_HOLDS });
    }
    let errors = summary.runs.iter().map(Measured::all_faults).sum::<u64>();
    let why = if let Some(why) = outcomes.iter().find_map(|outcome| outcome.failure.clone()) {
        Some(why)
    } else if outcomes.iter().any(|run| run.interrupted && run.total().sent > 0 && run.total().answered == 0)
    {
        // Without a single answer, an absence of errors proves nothing.
        Some("nothing was answered before the run ended: is the server working?".to_owned())
    } else {
        match errors {
            0 => None,
            1 => Some("there was an error: see the table".to_owned()),
            count => Some(format!("there were {count} errors: see the table")),
        }
    };
    let sentences: Vec<String> = why.into_iter().chain(missing).collect();
    if sentences.is_empty() { Ok(()) } else { Err(Failure::at_run_time(sentences.join("; "))) }
}

/// Prints for the user, on standard error if one of the files is standard output.
/// Returns what went wrong with that, which is no reason to lose the figures.
fn tell(outputs: &Outputs, text: &str) -> Option<String> {
    if outputs.take_stdout() {
        output::print_aside(text);
        return None;
    }
    output::print(text).err().map(|error| unprinted(&error))
}

fn unprinted(error: &io::Error) -> String {
    format!("the output cannot be written: {}", cause(error))
}

/// Raises the limit on descriptors as far as possible: a finished conversation
/// keeps its descriptor until the server closes too.
fn need_descriptors(connections: usize) -> Result<(), String> {
    let needed = connections as u64 + OTHER_DESCRIPTORS;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    // Some systems report no hard limit and still allow less.
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() && soft < needed {
        // If that is refused too, connecting will report it.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed, hard);
    }
    if hard < needed {
        return Err(format!(
            "{connections} connections need {needed} descriptors, but the system allows this program {hard}: \
             raise the limit (ulimit -n), or use fewer"
        ));
    }
    Ok(())
}

/// Performs one run on a reactor of its own.
fn run_once(order: &Order, reporter: Reporter) -> (Outcome, Reporter) {
    let (results, outcome) = mpsc::channel();
    let route = Route::new(order.common.target.clone());
    let run = Run::new(order.plan.clone(), route, order.shape.is_udp, reporter, results);
    let hosted = (order.host)(run);
    let (mut outcome, reporter) = outcome.try_recv().unwrap_or_default();
    if let Err(why) = hosted {
        outcome.failure.get_or_insert(why);
    }
    (outcome, reporter)
}

/// The limits of a run's connections: the run itself decides how long they may take.
fn limits(timeout: Duration) -> Limits {
    Limits {
        connect_timeout: Some(timeout),
        idle_timeout: None,
        message_timeout: None,
        send_timeout: None,
        output_limit: 0,
        // Whoever interrupts a run wants its figures and no more traffic.
        drain_timeout: Some(Duration::ZERO),
        datagrams_per_second: Rate::OFF,
        ..Limits::default()
    }
}

/// Runs a service to its end.
fn host<S: Service + 'static>(service: S, timeout: Duration) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the event loop cannot start: {error}");
    let mut reactor = Reactor::new().map_err(failed)?;
    signals::watch(&mut reactor).map_err(failed)?;
    let host = reactor.host("stress", service).limits(limits(timeout)).options(SocketOptions::default());
    host.start().map_err(|error| error.to_string())?;
    signals::run(&mut reactor).map_err(|error| error.to_string())
}
