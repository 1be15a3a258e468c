//! Plays the simulation, seed after seed: the whole daemon in a world in
//! memory where everything goes wrong (see `src/simulation`).
//!
//! Run:    cargo run --release --features simulated --example simulate -- --seconds 60
//!         … -- --seeds 2000            so many seeds, however long they take
//!         … -- --seed 4711             one seed again, which failed
//!         … -- --seconds 60 --seed 4711   from this seed on
//!
//! With RUST_LOG=trace it tells everything that happens in the world.
//!
//! The status is 0 if everything that is promised held, 1 with the seed that
//! showed otherwise, 2 for wrong usage.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use onepoll::simulation;
use onepoll::wording::counted;

/// How often it says how far it is.
const EVERY: Duration = Duration::from_secs(10);

const HELP: &str = "\
Plays the whole daemon in memory, with everything going wrong, seed after seed.

  --seconds N   for so long
  --seeds N     so many seeds
  --seed N      this seed alone, or from this one on

The status is 0 if everything held, 1 with the seed that showed otherwise.
RUST_LOG=trace tells everything that happens.";

struct Order {
    first: u64,
    seeds: Option<u64>,
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(order) = parse(std::env::args().skip(1)) else {
        eprintln!("simulate: give --seconds N, --seeds N or --seed N (--help explains them)");
        return ExitCode::from(2);
    };
    env_logger::init();
    // A panic is reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match play(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("{violation}");
            println!(
                "again: cargo run --release --features simulated --example simulate -- --seed {}",
                violation.seed
            );
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let mut order = Order { first: 0, seeds: None, seconds: None };
    let mut seed = None;
    while let Some(word) = words.next() {
        let number: u64 = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seconds" => order.seconds = Some(number),
            "--seeds" => order.seeds = Some(number),
            "--seed" => seed = Some(number),
            _ => return None,
        }
    }
    order.first = seed.unwrap_or(0);
    if order.seconds.is_none() && order.seeds.is_none() {
        seed?;
        order.seeds = Some(1);
    }
    Some(order)
}

fn play(order: &Order) -> Result<(), simulation::Violation> {
    let (begin, mut said) = (Instant::now(), Instant::now());
    let (mut seeds, mut turns, mut accepted, mut bytes, mut datagrams) = (0, 0, 0, 0, 0);
    let goes_on = |seeds: u64| {
        order.seeds.is_none_or(|most| seeds < most)
            && order.seconds.is_none_or(|most| begin.elapsed() < Duration::from_secs(most))
    };
    while goes_on(seeds) {
        let report = simulation::run(order.first + seeds)?;
        seeds += 1;
        turns += report.turns;
        accepted += report.accepted;
        bytes += report.bytes;
        datagrams += report.datagrams;
        if said.elapsed() >= EVERY {
            said = Instant::now();
            eprintln!("{}, {turns} turns", counted(seeds as usize, "seed"));
        }
    }
    println!(
        "{} from {} on in {:.1} s: {turns} turns, {accepted} connections, {bytes} bytes, {datagrams} datagrams; all held",
        counted(seeds as usize, "seed"),
        order.first,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}
